#include "options.h"

#include <orthant/io/library.h>
#include <orthant/kern/library.h>
#include <orthant/kern/table.h>

#include <string.h>

/* One line of --version: what the program was built with or runs on. */
typedef struct component {
    const char *name;
    void (*describe)(char *out, size_t room);
} component;

static void describe_compiler(char *out, size_t room)
{
#ifdef __clang__
    snprintf(out, room, "%s", __VERSION__);
#else
    snprintf(out, room, "gcc %s", __VERSION__);
#endif
}

/* Allowed before MPI_Init. */
static void describe_mpi(char *out, size_t room)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "unknown";
    int length;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, "\n")] = '\0';
    snprintf(out, room, "%s", text);
}

static void describe_blas(char *out, size_t room)
{
    char core[200];
    orth_blas_library(out, room);
    orth_blas_core_describe(core, sizeof core);
    if (core[0])
        snprintf(out + strlen(out), room - strlen(out), ", %s", core);
}

static void describe_kernels(char *out, size_t room)
{
    int usable = 0;
    snprintf(out, room, "%s", orth_kernels_reason(&usable));
}

static const component components[] = {
    {"compiler", describe_compiler}, {"MPI", describe_mpi},         {"HDF5", orth_h5_library},
    {"BLAS", describe_blas},         {"kernels", describe_kernels},
};

void orth_help_version(FILE *out)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    fprintf(out, "orthant %s\n", ORTH_VERSION);
    for (size_t i = 0; i < sizeof components / sizeof *components; i++) {
        components[i].describe(text, sizeof text);
        fprintf(out, "%s: %s\n", components[i].name, text);
    }
}

void orth_help_program(FILE *out)
{
    fprintf(out, "Usage: orthant VERB [ARGUMENT...] [OPTION...]\n"
                 "Trains and examines sparse autoencoders on CPU clusters: alone, or under mpirun "
                 "or srun.\n\nVerbs:\n");
    for (const orth_verb *const *verb = orth_verbs; *verb; verb++)
        fprintf(out, "  %-10s %s\n", (*verb)->name, (*verb)->summary);
    fprintf(out, "\northant VERB --help lists a verb's options, orthant --version names the "
                 "libraries in use.\n\nExit codes:\n"
                 "  0  done\n"
                 "  1  internal error\n"
                 "  2  usage or configuration\n"
                 "  3  input data\n"
                 "  4  storage: cannot write, disk full\n"
                 "  5  corrupt or incompatible checkpoint or model file\n"
                 "  6  a loss or gradient is not finite\n"
                 "  7  MPI or environment\n"
                 "  75 stopped early with a checkpoint: run again to continue\n"
                 "  76 no progress, ended by run.watchdog: run again to continue\n");
}

static void print_option(const orth_option *option, FILE *out)
{
    fprintf(out, "  --%s", option->name);
    if (option->placeholder)
        fprintf(out, " %s", option->placeholder);
    if (option->fallback)
        fprintf(out, " [default: %s]", option->fallback);
    fprintf(out, "\n      %s\n", option->help);
}

void orth_help_verb(const orth_verb *verb, FILE *out)
{
    fprintf(out, "Usage: orthant %s %s%s [--quiet] [--help]\n%s\n\nOptions:\n", verb->name,
            verb->usage, verb->takes_set ? " [--set KEY=VALUE...]" : "", verb->summary);
    for (const orth_option *option = verb->options; option && option->name; option++)
        print_option(option, out);
    for (const orth_option *option = orth_common_options; option->name; option++)
        if (verb->takes_set || strcmp(option->name, "set") != 0)
            print_option(option, out);
    if (verb->help) {
        fprintf(out, "\n");
        verb->help(out);
    }
}
