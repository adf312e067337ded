#include <orthant/eval/labels.h>

#include <orthant/base/memory.h>
#include <orthant/io/h5.h>
#include <orthant/par/agree.h>

#include <stdio.h>
#include <string.h>

/* Labels that are read at a time; room for all names together. */
enum { PIECE = 1 << 18, NAMES_ROOM = 1 << 20, NAME_ROOM = 64 };

struct orth_labels {
    orth_h5_file *file;
    orth_h5_dataset *dataset;
    MPI_Comm comm;
    int64_t rows;
    int64_t tasks;
    char *names;       ///< the attribute, its names with an end each; NULL: there is none
    const char **name; ///< (tasks) in it
    char number[NAME_ROOM];
    int32_t *piece; ///< scratch
};

static orth_status check_layout(const orth_labels *labels, const char *dataset, int64_t rows)
{
    const orth_h5_layout *layout = orth_h5_dataset_layout(labels->dataset);
    const char *path = orth_h5_path(labels->file);
    bool integers = layout->type == ORTH_H5_INT32 || layout->type == ORTH_H5_INT64 ||
                    layout->type == ORTH_H5_UINT8 || layout->type == ORTH_H5_UINT32 ||
                    layout->type == ORTH_H5_UINT64 ||
                    (layout->type == ORTH_H5_OTHER &&
                     (strstr(layout->type_name, "int") || strstr(layout->type_name, "bool")));
    if (!integers)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: dataset '%s' is of type %s; labels are integers: 0, 1, or negative "
                         "where there is none",
                         path, dataset, layout->type_name);
    if (layout->rank < 1 || layout->rank > 2)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: dataset '%s' has %d dimensions; labels are [tokens] or [tokens, "
                         "tasks]",
                         path, dataset, layout->rank);
    if (layout->extent[0] != rows)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: dataset '%s' labels %lld tokens, the activations have %lld; give "
                         "labels of these activations, in the same order",
                         path, dataset, (long long)layout->extent[0], (long long)rows);
    if (layout->extent[1] < 1)
        return orth_fail(ORTH_ERR_DATA, "%s: dataset '%s' has no task; give one at least", path,
                         dataset);
    return ORTH_OK;
}

/* Cut the attribute: a list of texts came as lines, a single text is cut at its commas. Blanks
 * around names go. Local. */
static orth_status split_names(orth_labels *labels, const char *dataset)
{
    int64_t found = 0;
    char *rest = NULL;
    const char *cut = labels->tasks == 1 || strchr(labels->names, '\n') ? "\n" : ",";
    ORTH_TRY(ORTH_ALLOCATE(labels->tasks, "names of tasks", &labels->name));
    for (char *word = strtok_r(labels->names, cut, &rest); word;
         word = strtok_r(NULL, cut, &rest)) {
        word += strspn(word, " ");
        for (char *end = word + strlen(word); end > word && end[-1] == ' ';)
            *--end = '\0';
        if (found < labels->tasks)
            labels->name[found] = word;
        found++;
    }
    if (found != labels->tasks)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: attribute task_names of '%s' has %lld names, there are %lld tasks; "
                         "give a list with one for each, or one text with commas between them",
                         orth_h5_path(labels->file), dataset, (long long)found,
                         (long long)labels->tasks);
    return ORTH_OK;
}

static orth_status read_names(orth_labels *labels, const char *dataset)
{
    bool there = false;
    ORTH_TRY(orth_h5_attribute_exists(labels->file, dataset, "task_names", &there));
    if (!there)
        return ORTH_OK;
    ORTH_TRY(orth_agree(labels->comm, ORTH_ALLOCATE(NAMES_ROOM, "names of tasks", &labels->names)));
    ORTH_TRY(orth_h5_attribute_read_texts(labels->file, dataset, "task_names", NAMES_ROOM,
                                          labels->names, NAMES_ROOM));
    return orth_agree(labels->comm, split_names(labels, dataset));
}

static orth_status open_file(const char *path, const char *dataset, int64_t rows,
                             orth_labels *labels)
{
    ORTH_TRY(
        orth_h5_open(path, ORTH_H5_READ_INDEPENDENT, ORTH_ERR_DATA, labels->comm, &labels->file));
    ORTH_TRY(orth_h5_dataset_open(labels->file, dataset, &labels->dataset));
    ORTH_TRY(orth_agree(labels->comm, check_layout(labels, dataset, rows)));
    labels->rows = rows;
    labels->tasks = orth_h5_dataset_layout(labels->dataset)->extent[1];
    int64_t room = labels->tasks > PIECE ? labels->tasks : PIECE;
    ORTH_TRY(orth_agree(labels->comm, ORTH_ALLOCATE(room, "labels", &labels->piece)));
    return read_names(labels, dataset);
}

orth_status orth_labels_open(const char *path, const char *dataset, int64_t rows, MPI_Comm comm,
                             orth_labels **out)
{
    orth_labels *labels = NULL;
    orth_status status = orth_agree(comm, ORTH_ALLOCATE(1, "labels", &labels));
    if (status == ORTH_OK) {
        labels->comm = comm;
        status = open_file(path, dataset, rows, labels);
    }
    if (status == ORTH_OK)
        *out = labels;
    else
        orth_labels_close(labels);
    return status;
}

int64_t orth_labels_tasks(const orth_labels *labels)
{
    return labels->tasks;
}

const char *orth_labels_name(orth_labels *labels, int64_t task)
{
    if (labels->name)
        return labels->name[task];
    snprintf(labels->number, sizeof labels->number, "task %lld", (long long)task);
    return labels->number;
}

static orth_status take(const orth_labels *labels, int64_t row, int64_t task, int32_t value,
                        int8_t *out)
{
    if (value > 1)
        return orth_fail(ORTH_ERR_DATA,
                         "%s: row %lld has label %d for task %lld; labels are 0, 1, or negative "
                         "where there is none",
                         orth_h5_path(labels->file), (long long)row, (int)value, (long long)task);
    *out = (int8_t)(value < 0 ? -1 : value);
    return ORTH_OK;
}

orth_status orth_labels_read(orth_labels *labels, orth_range rows, orth_range tasks, int64_t stride,
                             int8_t *out)
{
    int64_t step = PIECE / labels->tasks + (labels->tasks > PIECE);
    for (int64_t at = rows.begin; at < rows.end; at += step) {
        int64_t to = at + step < rows.end ? at + step : rows.end;
        ORTH_TRY(orth_h5_read(labels->dataset, at, to, ORTH_H5_INT32, labels->piece));
        for (int64_t row = at; row < to; row++)
            for (int64_t task = tasks.begin; task < tasks.end; task++)
                ORTH_TRY(take(labels, row, task, labels->piece[(row - at) * labels->tasks + task],
                              &out[(task - tasks.begin) * stride + row - rows.begin]));
    }
    return ORTH_OK;
}

void orth_labels_close(orth_labels *labels)
{
    if (!labels)
        return;
    orth_h5_dataset_close(labels->dataset);
    orth_h5_close(labels->file);
    orth_free(labels->names);
    orth_free(labels->name);
    orth_free(labels->piece);
    orth_free(labels);
}
