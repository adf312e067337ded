#include "options.h"

#include <orthant/base/memory.h>
#include <orthant/base/nearest.h>
#include <orthant/base/number.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* What getopt_long returns: an ordinary word, then the options by their place in the table. */
enum { WORD = 1, MISSING_VALUE = ':', FIRST_OPTION = 256, TEXT_ROOM = 1024 };

typedef struct values {
    const char **items;
    int64_t count;
} values;

struct orth_call {
    const orth_verb *verb;
    const orth_option **options; ///< common ones, then the verb's
    values *given;               ///< by option
    int n_option;
    values words;
};

const orth_option orth_common_options[] = {
    {"set", ORTH_OPTION_LIST, "KEY=VALUE...", NULL,
     "Override configuration keys, for example --set model.k=64."},
    {"quiet", ORTH_OPTION_FLAG, NULL, NULL, "Print warnings, errors and results alone."},
    {"help", ORTH_OPTION_FLAG, NULL, NULL, "Print this and do nothing."},
    {NULL, ORTH_OPTION_FLAG, NULL, NULL, NULL},
};

orth_status orth_verb_find(const char *name, const orth_verb **out)
{
    const orth_verb *nearest = orth_verbs[0];
    char list[TEXT_ROOM] = "";
    for (const orth_verb *const *verb = orth_verbs; *verb; verb++) {
        if (strcmp((*verb)->name, name) == 0) {
            *out = *verb;
            return ORTH_OK;
        }
        if (orth_edit_distance(name, (*verb)->name) < orth_edit_distance(name, nearest->name))
            nearest = *verb;
        size_t length = strlen(list);
        snprintf(list + length, sizeof list - length, "%s%s", length ? ", " : "", (*verb)->name);
    }
    return orth_fail(ORTH_ERR_USAGE, "unknown verb '%.100s': did you mean %s?; the verbs are %s",
                     name, nearest->name, list);
}

static orth_status no_memory(void)
{
    return orth_fail(ORTH_ERR_ENVIRONMENT, "command line: out of memory; free some on this host");
}

/* Room for every word of the command line under every option. */
static orth_status create(const orth_verb *verb, int argc, orth_call **out)
{
    int n_option = 0;
    for (const orth_option *o = orth_common_options; o->name; o++)
        n_option++;
    for (const orth_option *o = verb->options; o && o->name; o++)
        n_option++;
    orth_call *call = orth_calloc(1, sizeof *call);
    if (!call)
        return no_memory();
    size_t n = (size_t)n_option, words = (size_t)argc + 1;
    call->verb = verb;
    call->options = orth_calloc(n, sizeof *call->options);
    call->given = orth_calloc(n, sizeof *call->given);
    call->words.items = orth_calloc(words, sizeof *call->words.items);
    *out = call;
    if (!call->options || !call->given || !call->words.items)
        return no_memory();
    for (const orth_option *o = orth_common_options; o->name; o++)
        if (verb->takes_set || strcmp(o->name, "set") != 0)
            call->options[call->n_option++] = o;
    for (const orth_option *o = verb->options; o && o->name; o++)
        call->options[call->n_option++] = o;
    for (int i = 0; i < call->n_option; i++) {
        call->given[i].items = orth_calloc(words, sizeof *call->given[i].items);
        if (!call->given[i].items)
            return no_memory();
    }
    return ORTH_OK;
}

void orth_call_free(orth_call *call)
{
    if (!call)
        return;
    for (int i = 0; call->given && i < call->n_option; i++)
        free(call->given[i].items);
    free(call->given);
    free(call->options);
    free(call->words.items);
    free(call);
}

static int find_option(const orth_call *call, const char *name)
{
    for (int i = 0; i < call->n_option; i++)
        if (strcmp(call->options[i]->name, name) == 0)
            return i;
    return -1;
}

/* Whether a word reads as section.key=value: what may follow --set besides its first value. */
static bool is_override(const char *word)
{
    size_t length =
        strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
    return length > 0 && word[length] == '=';
}

static bool continues_list(const orth_option *option, const char *word)
{
    return option->kind == ORTH_OPTION_LIST &&
           (strcmp(option->name, "set") != 0 || is_override(word));
}

static orth_status unknown_option(const orth_call *call, const char *word)
{
    const char *name = word + strspn(word, "-");
    const char *nearest = "help";
    for (int i = 0; i < call->n_option; i++) {
        const char *other = call->options[i]->name;
        if (orth_edit_distance(name, other) < orth_edit_distance(name, nearest))
            nearest = other;
    }
    return orth_fail(ORTH_ERR_USAGE,
                     "%s: option '%.100s' is unknown, ambiguous or takes no value: did you mean "
                     "--%s?; see orthant %s --help",
                     call->verb->name, word, nearest, call->verb->name);
}

static orth_status add_value(values *list, const char *value, const char *what)
{
    if (!value[0])
        return orth_fail(ORTH_ERR_USAGE, "%s: the value is empty; give one", what);
    list->items[list->count++] = value;
    return ORTH_OK;
}

/* Take what getopt_long found. `*open` is the list option that further words belong to, or -1. */
static orth_status take(orth_call *call, int found, char **argv, int *open)
{
    if (found == WORD) {
        if (*open >= 0 && continues_list(call->options[*open], optarg))
            return add_value(&call->given[*open], optarg, call->options[*open]->name);
        *open = -1;
        return add_value(&call->words, optarg, call->verb->name);
    }
    if (found == MISSING_VALUE)
        return orth_fail(ORTH_ERR_USAGE, "%s: %.100s needs a value; see orthant %s --help",
                         call->verb->name, argv[optind - 1], call->verb->name);
    if (found == 'h')
        found = FIRST_OPTION + find_option(call, "help");
    if (found == 'q')
        found = FIRST_OPTION + find_option(call, "quiet");
    if (found < FIRST_OPTION)
        return unknown_option(call, argv[optind - 1]);
    int i = found - FIRST_OPTION;
    *open = call->options[i]->kind == ORTH_OPTION_LIST ? i : -1;
    if (call->options[i]->kind == ORTH_OPTION_FLAG) {
        call->given[i].count = 1;
        return ORTH_OK;
    }
    return add_value(&call->given[i], optarg, call->options[i]->name);
}

static orth_status check_words(const orth_call *call)
{
    const orth_verb *verb = call->verb;
    if (call->words.count < verb->min_argument)
        return orth_fail(ORTH_ERR_USAGE, "%s: an argument is missing; write orthant %s %s",
                         verb->name, verb->name, verb->usage);
    if (call->words.count > verb->max_argument)
        return orth_fail(ORTH_ERR_USAGE,
                         "%s: '%.200s' is one argument too many; write orthant %s "
                         "%s",
                         verb->name, call->words.items[verb->max_argument], verb->name,
                         verb->usage);
    return ORTH_OK;
}

static orth_status parse(orth_call *call, int argc, char **argv)
{
    struct option *table = orth_calloc((size_t)call->n_option + 1, sizeof *table);
    if (!table)
        return no_memory();
    for (int i = 0; i < call->n_option; i++)
        table[i] = (struct option){
            .name = call->options[i]->name,
            .has_arg = call->options[i]->kind == ORTH_OPTION_FLAG ? no_argument : required_argument,
            .val = FIRST_OPTION + i,
        };
    /* "-": words come in their place among the options, so that they can belong to a list. */
    int found, open = -1;
    orth_status status = ORTH_OK;
    optind = 0;
    opterr = 0;
    while (status == ORTH_OK && (found = getopt_long(argc, argv, "-:hq", table, NULL)) != -1)
        status = take(call, found, argv, &open);
    free(table);
    for (; status == ORTH_OK && optind < argc; optind++) /* after "--" */
        status = add_value(&call->words, argv[optind], call->verb->name);
    ORTH_TRY(status);
    return check_words(call);
}

orth_status orth_call_parse(const orth_verb *verb, int argc, char **argv, orth_call **out)
{
    orth_call *call = NULL;
    orth_status status = create(verb, argc, &call);
    if (status == ORTH_OK)
        status = parse(call, argc, argv);
    if (status == ORTH_OK)
        *out = call;
    else
        orth_call_free(call);
    return status;
}

const char *orth_call_argument(const orth_call *call, int i)
{
    return i < call->words.count ? call->words.items[i] : NULL;
}

int orth_call_arguments(const orth_call *call)
{
    return (int)call->words.count;
}

bool orth_call_flag(const orth_call *call, const char *option)
{
    int i = find_option(call, option);
    return i >= 0 && call->given[i].count > 0;
}

const char *orth_call_text(const orth_call *call, const char *option)
{
    int i = find_option(call, option);
    if (i < 0)
        return NULL;
    const values *given = &call->given[i];
    return given->count ? given->items[given->count - 1] : call->options[i]->fallback;
}

const char *const *orth_call_list(const orth_call *call, const char *option, int64_t *count)
{
    int i = find_option(call, option);
    *count = i < 0 ? 0 : call->given[i].count;
    return i < 0 ? NULL : call->given[i].items;
}

orth_status orth_call_integer(const orth_call *call, const char *option, int64_t low, int64_t high,
                              int64_t *out)
{
    const char *text = orth_call_text(call, option);
    if (!text)
        return ORTH_OK;
    int64_t value;
    const char *why = orth_number_integer(text, &value);
    if (!why && (value < low || value > high))
        why = "is out of range";
    if (why)
        return orth_fail(ORTH_ERR_USAGE, "%s: --%s: '%.100s' %s; give an integer from %lld to %lld",
                         call->verb->name, option, text, why, (long long)low, (long long)high);
    *out = value;
    return ORTH_OK;
}

orth_status orth_call_number(const orth_call *call, const char *option, double low, double high,
                             double *out)
{
    const char *text = orth_call_text(call, option);
    if (!text)
        return ORTH_OK;
    double value;
    const char *why = orth_number_parse(text, &value);
    if (!why && !(value >= low && value <= high))
        why = "is out of range";
    if (why)
        return orth_fail(ORTH_ERR_USAGE, "%s: --%s: '%.100s' %s; give a number from %g to %g",
                         call->verb->name, option, text, why, low, high);
    *out = value;
    return ORTH_OK;
}

const char *const *orth_call_overrides(const orth_call *call, int64_t *count)
{
    return orth_call_list(call, "set", count);
}

bool orth_call_quiet(const orth_call *call)
{
    return orth_call_flag(call, "quiet");
}
