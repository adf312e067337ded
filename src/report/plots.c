/* The static plots: the figures of the page, for papers. */
#include "plots_parts.h"

#include <orthant/base/embedded.h>
#include <orthant/base/memory.h>
#include <orthant/run/run_dir.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* src/report/plots/: style.gp alone. */
extern const struct orth_file orth_plots_files[];

/* Line styles of many points (style.gp). */
enum { SMALL = 10 };

/* Where a run's figures are in the document. */
typedef struct plots {
    const char *folder;
    const json_t *models;
    char **words; ///< gnuplot's command line: a script each
    size_t count, room;
} plots;

static const json_t *look(const json_t *object, const char *path)
{
    while (object && path) {
        char name[64];
        const char *dot = strchr(path, '.');
        snprintf(name, sizeof name, "%.*s", (int)(dot ? dot - path : (long)strlen(path)), path);
        object = json_object_get(object, name);
        path = dot ? dot + 1 : NULL;
    }
    return object;
}

static double value(const json_t *object, const char *path)
{
    const json_t *found = look(object, path);
    return json_is_number(found) ? json_number_value(found) : NAN;
}

static const char *name_of(const json_t *model)
{
    return json_string_value(json_object_get(model, "name"));
}

/* ---- the folder ---- */

static orth_status refuse(const char *folder, const char *doing)
{
    return orth_fail(ORTH_ERR_STORAGE,
                     "--plots %s: cannot %s: %s; give a folder that can be written", folder, doing,
                     strerror(errno));
}

static orth_status write_style(const char *folder)
{
    char *path = NULL;
    ORTH_TRY(orth_path_format(&path, "%s/style.gp", folder));
    orth_status status = ORTH_OK;
    if (access(path, F_OK) != 0) {
        const struct orth_file *style = orth_plots_files;
        size_t length = (size_t)(style->end - style->begin);
        FILE *file = fopen(path, "we");
        bool failed = !file || fwrite(style->begin, 1, length, file) != length;
        if ((file && fclose(file) != 0) || failed)
            status = refuse(folder, "write there");
    }
    free(path);
    return status;
}

orth_status orth_report_plots_open(const char *folder)
{
    struct stat info;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return refuse(folder, "make the folder");
    if (stat(folder, &info) != 0)
        return refuse(folder, "use the folder");
    if (!S_ISDIR(info.st_mode)) {
        errno = ENOTDIR;
        return refuse(folder, "make the folder");
    }
    return write_style(folder);
}

orth_status orth_report_plots_each(const char *folder,
                                   orth_status (*visit)(void *context, const char *path),
                                   void *context)
{
    static const char *const endings[] = {".gp", ".dat", ".svg", ".png"};
    orth_status status = ORTH_OK;
    DIR *entries = opendir(folder);
    if (!entries)
        return errno == ENOENT ? ORTH_OK : refuse(folder, "read the folder");
    for (const struct dirent *entry; status == ORTH_OK && (entry = readdir(entries));) {
        const char *dot = strrchr(entry->d_name, '.');
        char *path = NULL;
        for (size_t i = 0; dot && !path && i < sizeof endings / sizeof *endings; i++)
            if (strcmp(dot, endings[i]) == 0)
                status = orth_path_format(&path, "%s/%s", folder, entry->d_name);
        if (path)
            status = visit(context, path);
        free(path);
    }
    closedir(entries);
    return status;
}

/* ---- plots ---- */

static orth_status remember(plots *p, const orth_plot *plot, orth_status status)
{
    if (status != ORTH_OK || plot->blocks == 0)
        return status;
    if (p->count + 3 > p->room) {
        size_t room = p->room + 64;
        char **more = orth_realloc(p->words, room * sizeof *more);
        if (!more)
            return orth_fail(ORTH_ERR_ENVIRONMENT, "plots: out of memory; free memory");
        p->words = more;
        p->room = room;
    }
    ORTH_TRY(orth_path_format(&p->words[p->count], "%s.gp", plot->name));
    p->words[++p->count] = NULL;
    return ORTH_OK;
}

static orth_status finish(plots *p, orth_plot *plot)
{
    orth_status status = orth_plot_end(plot, ORTH_OK);
    return remember(p, plot, status);
}

static orth_status training_plot(plots *p, const char *series, const char *title, bool log)
{
    orth_plot plot;
    char name[64], settings[256], path[64];
    size_t i;
    json_t *model;
    snprintf(name, sizeof name, "training_%s", series);
    snprintf(path, sizeof path, "training.curves.%s", series);
    snprintf(settings, sizeof settings, "set xlabel 'step'\nset ylabel '%s' noenhanced%s", title,
             log ? "\nset logscale y" : "\nset yrange [0:*]");
    ORTH_TRY(orth_plot_begin(p->folder, name, settings, &plot));
    json_array_foreach(p->models, i, model)
    {
        const json_t *curve = look(model, path);
        if (curve)
            orth_plot_curve(&plot, json_object_get(curve, "step"), json_object_get(curve, "value"),
                            "with lines", orth_plot_style(i), name_of(model));
    }
    return finish(p, &plot);
}

/* gnuplot's sign of a selection, as on the page: filled, and hollow from the ninth model on. */
static int sign_of(const json_t *model, size_t i)
{
    static const struct {
        const char *selection;
        int sign;
    } signs[] = {{"topk", 7}, {"topafa", 13}, {"batchtopk", 9}, {"jumprelu", 5}};
    const char *selection = json_string_value(look(model, "checkpoint.selection"));
    int sign = 5;
    for (size_t k = 0; selection && k < sizeof signs / sizeof *signs; k++)
        if (strcmp(selection, signs[k].selection) == 0)
            sign = signs[k].sign;
    return i / 8 % 2 == 0 ? sign : sign - 1;
}

static orth_status frontier_plot(plots *p)
{
    orth_plot plot;
    size_t i;
    json_t *model;
    ORTH_TRY(orth_plot_begin(p->folder, "l0_mse",
                             "set logscale xy\nset xlabel 'L0'\nset ylabel 'MSE'\n"
                             "set autoscale fix\n"
                             "set xtics add (2, 5, 20, 50, 200, 500, 2000, 5000, 20000)\n"
                             "set ytics add (0.002, 0.005, 0.02, 0.05, 0.2, 0.5, 2, 5)\n"
                             "set offsets graph 0.1, graph 0.1, graph 0.1, graph 0.1",
                             &plot));
    json_array_foreach(p->models, i, model)
    {
        double l0 = value(model, "evaluation.l0.mean"), mse = value(model, "evaluation.mse");
        if (!(l0 > 0.0 && mse > 0.0))
            continue;
        fprintf(orth_plot_block(&plot), "%.9g %.9g\n", l0, mse);
        plot.sign = sign_of(model, i);
        orth_plot_use(&plot, "using 1:2 with points", orth_plot_style(i), name_of(model));
    }
    return finish(p, &plot);
}

/* Quartiles as a box, the median as a point in it. */
static orth_status elbo_plot(plots *p)
{
    orth_plot plot;
    size_t i;
    json_t *model;
    ORTH_TRY(orth_plot_begin(p->folder, "elbo",
                             "set logscale y\nset ylabel 'eLBO (quartiles)'\nset format x ''\n"
                             "set format y '10^{%L}'\n"
                             "set xtics 1\nset bars small\nset offsets 0.5, 0.5, 0, 0",
                             &plot));
    json_array_foreach(p->models, i, model)
    {
        double median = value(model, "evaluation.elbo.median");
        double low = value(model, "evaluation.elbo.q25"),
               high = value(model, "evaluation.elbo.q75");
        if (!(median > 0.0 && low > 0.0))
            continue;
        fprintf(orth_plot_block(&plot), "%zu %.9g %.9g %.9g\n", i + 1, median, low, high);
        orth_plot_use(&plot, "using 1:2:3:4 with yerrorbars", orth_plot_style(i), name_of(model));
    }
    return finish(p, &plot);
}

/* As shares of the total, bin by bin. */
static void histogram_curve(orth_plot *plot, const json_t *histogram, size_t i, const char *title)
{
    const json_t *edges = json_object_get(histogram, "edges");
    const json_t *counts = json_object_get(histogram, "counts");
    double total = 0.0;
    for (size_t k = 0; k < json_array_size(counts); k++)
        total += json_number_value(json_array_get(counts, k));
    FILE *data = orth_plot_block(plot);
    for (size_t k = 0; k < json_array_size(counts); k++) {
        double share = json_number_value(json_array_get(counts, k)) / (total > 0.0 ? total : 1.0);
        for (size_t side = 0; side < 2; side++)
            fprintf(data, "%.9g %.9g\n", json_number_value(json_array_get(edges, k + side)), share);
    }
    orth_plot_use(plot, "using 1:2 with lines", orth_plot_style(i), title);
}

static orth_status histogram_plot(plots *p, const char *name, const char *path,
                                  const char *settings)
{
    orth_plot plot;
    size_t i;
    json_t *model;
    ORTH_TRY(orth_plot_begin(p->folder, name, settings, &plot));
    json_array_foreach(p->models, i, model)
    {
        const json_t *histogram = look(model, path);
        if (histogram)
            histogram_curve(&plot, histogram, i, name_of(model));
    }
    return finish(p, &plot);
}

/* Eigenvalues that are zero to rounding (eval/spectrum.h) would take most of a logarithmic scale.
 */
static json_t *without_zeros(const json_t *spectrum)
{
    const json_t *all = json_object_get(spectrum, "eigenvalues");
    double least = value(spectrum, "d") * 0x1p-52 * json_number_value(json_array_get(all, 0));
    json_t *some = json_array();
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *one = json_array_get(all, i);
        if (!(json_number_value(one) > least))
            break;
        json_array_append(some, one);
    }
    return some;
}

static orth_status spectrum_plot(plots *p, const char *name, const char *path, const char *label)
{
    orth_plot plot;
    char settings[256];
    size_t i;
    json_t *model;
    snprintf(settings, sizeof settings,
             "set logscale xy\nset format y '10^{%%L}'\nset xlabel 'index'\nset ylabel '%s'",
             label);
    ORTH_TRY(orth_plot_begin(p->folder, name, settings, &plot));
    json_array_foreach(p->models, i, model)
    {
        json_t *drawn = without_zeros(look(model, path));
        orth_plot_curve(&plot, json_object_get(look(model, path), "index"), drawn, "with lines",
                        orth_plot_style(i), name_of(model));
        json_decref(drawn);
    }
    return finish(p, &plot);
}

static orth_status pca_plot(plots *p)
{
    orth_plot plot;
    size_t i;
    json_t *model;
    ORTH_TRY(orth_plot_begin(p->folder, "pca",
                             "set logscale xy\nset xlabel 'rank r of PCA (lines), L0 of the model "
                             "(points)'\nset ylabel 'fraction of variance unexplained'\n"
                             "set yrange [1e-4:]",
                             &plot));
    json_array_foreach(p->models, i, model)
    {
        const json_t *pca = json_object_get(model, "pca");
        if (!pca)
            continue;
        orth_plot_curve(&plot, json_object_get(pca, "rank"), json_object_get(pca, "fvu"),
                        "with lines", orth_plot_style(i), NULL);
        fprintf(orth_plot_block(&plot), "%.9g %.9g\n", value(model, "evaluation.l0.mean"),
                value(model, "evaluation.fvu"));
        orth_plot_use(&plot, "using 1:2 with points", orth_plot_style(i), name_of(model));
    }
    return finish(p, &plot);
}

/* y = x, and |z| / sqrt(1 +- eps (n - 1)). */
static orth_status zf_plot(plots *p, const json_t *model, size_t i)
{
    static const char *const lines[][2] = {{"x ls 20", "y = x"},
                                           {"x/sqrt(1 + 0.25) ls 21", "eps (n - 1) = 0.25"},
                                           {"x/sqrt(1 - 0.25) ls 21", NULL},
                                           {"x/sqrt(1 + 0.5) ls 22", "eps (n - 1) = 0.5"},
                                           {"x/sqrt(1 - 0.5) ls 22", NULL},
                                           {"x/sqrt(1 + 1) ls 23", "eps (n - 1) = 1"}};
    const json_t *zf = look(model, "evaluation.zf"), *z = json_object_get(zf, "z");
    orth_plot plot;
    char name[64], settings[256];
    double least = INFINITY, most = 0.0;
    if (!zf)
        return ORTH_OK;
    for (size_t k = 0; k < json_array_size(z); k++) {
        least = fmin(least, json_number_value(json_array_get(z, k)));
        most = fmax(most, json_number_value(json_array_get(z, k)));
    }
    /* Norms that hardly differ (input.norm: layernorm) are not made to look spread. */
    snprintf(name, sizeof name, "zf_%zu", i + 1);
    snprintf(settings, sizeof settings,
             "set xlabel '|z|'\nset ylabel '|f~|' noenhanced\nset xrange [%.4g:%.4g]\n"
             "set yrange [0:%.4g]",
             least > 0.8 * most ? 0.8 * least : 0.0, 1.05 * most, 1.5 * most);
    ORTH_TRY(orth_plot_begin(p->folder, name, settings, &plot));
    plot.columns = 1;
    orth_plot_curve(&plot, json_object_get(zf, "z"), json_object_get(zf, "f"), "with points",
                    SMALL + orth_plot_colour(i), name_of(model));
    for (size_t k = 0; k < sizeof lines / sizeof *lines; k++)
        orth_plot_expression(&plot, lines[k][0], lines[k][1]);
    return finish(p, &plot);
}

static orth_status write_plots(plots *p)
{
    static const struct {
        const char *series, *title;
        bool log;
    } curves[] = {{"loss", "loss", true},
                  {"mse", "mse", true},
                  {"fvu", "fraction of variance unexplained", true},
                  {"l0", "L0", false},
                  {"n_dead", "dead latents", false},
                  {"grad_norm", "gradient norm", true},
                  {"lr", "learning rate", false},
                  {"tokens_per_s", "tokens per second", false}};
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        ORTH_TRY(training_plot(p, curves[i].series, curves[i].title, curves[i].log));
    ORTH_TRY(frontier_plot(p));
    ORTH_TRY(elbo_plot(p));
    ORTH_TRY(histogram_plot(p, "elbo_histogram", "evaluation.elbo.histogram",
                            "set xlabel 'log10 of eLBO'\nset ylabel 'share of tokens'"));
    ORTH_TRY(histogram_plot(p, "l0_histogram", "evaluation.l0.histogram",
                            "set xlabel 'L0 of a token'\nset ylabel 'share of tokens'"));
    ORTH_TRY(histogram_plot(p, "frequency", "evaluation.frequency",
                            "set xlabel 'log10 of the share of tokens'\n"
                            "set ylabel 'share of latents'"));
    ORTH_TRY(spectrum_plot(p, "frame", "frame", "eigenvalue of W^T W"));
    ORTH_TRY(spectrum_plot(p, "covariance", "pca.covariance", "eigenvalue of the covariance"));
    ORTH_TRY(pca_plot(p));
    for (size_t i = 0; i < json_array_size(p->models); i++)
        ORTH_TRY(zf_plot(p, json_array_get(p->models, i), i));
    return ORTH_OK;
}

orth_status orth_report_plots(const json_t *document, const char *folder, const char *page)
{
    plots p = {.folder = folder, .models = json_object_get(document, "models"), .room = 64};
    p.words = orth_calloc(p.room, sizeof *p.words);
    orth_status status = p.words
                             ? orth_path_format(&p.words[p.count++], "gnuplot")
                             : orth_fail(ORTH_ERR_ENVIRONMENT, "plots: out of memory; free memory");
    if (status == ORTH_OK)
        status = write_plots(&p);
    if (status == ORTH_OK && p.count > 1)
        status = orth_gnuplot_run(folder, p.words, page);
    for (size_t i = 0; p.words && i < p.count; i++)
        free(p.words[i]);
    free(p.words);
    return status;
}
