/* A gnuplot script and its data. */
#include "plots_parts.h"

#include <orthant/run/run_dir.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* style.gp: 1 to 8 are the colours; models after the eighth have them with other dashes. */
enum { COLOURS = 8, STYLES = 32, AGAIN = 101 };

/* Of a plot of 640 pixels: what a sign of the key, its sample and a row of it take. */
enum { WIDTH = 570, SIGN = 8, SAMPLE = 85, ROW = 20 };

/* What fits into a row of the key: of a longer name the beginning and the end are shown. */
enum { LONGEST = (WIDTH - SAMPLE) / SIGN, LAST = (LONGEST - 1) / 2, FIRST = LONGEST - 1 - LAST };

static orth_status refuse(const orth_plot *plot, const char *doing)
{
    return orth_fail(ORTH_ERR_STORAGE,
                     "%s/%s: cannot %s: %s; give --plots a folder with room that can be written",
                     plot->folder, plot->name, doing, strerror(errno));
}

static FILE *open_part(const orth_plot *plot, const char *ending)
{
    char *path = NULL;
    if (orth_path_format(&path, "%s/%s.%s", plot->folder, plot->name, ending) != ORTH_OK)
        return NULL;
    FILE *file = fopen(path, "we");
    free(path);
    return file;
}

orth_status orth_plot_begin(const char *folder, const char *name, const char *settings,
                            orth_plot *out)
{
    *out = (orth_plot){.folder = folder};
    snprintf(out->name, sizeof out->name, "%s", name);
    out->script = open_part(out, "gp");
    out->data = out->script ? open_part(out, "dat") : NULL;
    out->curves = out->data ? open_memstream(&out->text, &out->length) : NULL;
    if (!out->curves)
        return orth_plot_end(out, refuse(out, "write"));
    return orth_path_format(&out->settings, "%s", settings);
}

/* The key is below, in columns; the picture is higher by its rows. */
static void write_head(const orth_plot *plot)
{
    int fit = WIDTH / (SIGN * (int)(plot->longest < WIDTH ? plot->longest : WIDTH) + SAMPLE);
    int columns = plot->columns > 0 ? plot->columns : fit > 1 ? fit : 1;
    int rows = ((int)plot->titles + columns - 1) / columns;
    fprintf(plot->script,
            "# Made by orthant report: gnuplot %s.gp draws it again. style.gp has its looks.\n"
            "reset session\n# Room for the names below the plot, pixels.\nroom = %d\n"
            "load 'style.gp'\nset key maxrows %d\n%s\n",
            plot->name, ROW * rows, rows, plot->settings);
}

/* UTF-8: the second and later bytes of a sign. */
static bool goes_on(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

static size_t count_signs(const char *text)
{
    size_t signs = 0;
    for (; *text; text++)
        signs += !goes_on(*text);
    return signs;
}

/* gnuplot runs what stands between backquotes: of a name only harmless signs are left. */
static void write_title(orth_plot *plot, const char *title)
{
    FILE *out = plot->curves;
    if (!title) {
        fputs(" notitle", out);
        return;
    }
    size_t signs = count_signs(title), at = 0;
    bool cut = signs > LONGEST;
    plot->titles++;
    if (plot->longest < (cut ? LONGEST : signs))
        plot->longest = cut ? LONGEST : signs;
    fputs(" title '", out);
    for (; *title; title++) {
        unsigned char sign = (unsigned char)*title;
        at += !goes_on(*title);
        if (cut && at == FIRST + 1 && !goes_on(*title))
            fputs("\u2026", out);
        if (cut && at > FIRST && at <= signs - LAST)
            continue;
        bool harmless = sign >= 0x80 || (sign > ' ' && !strchr("'\"`\\$@#{}", sign));
        fputc(harmless ? sign : ' ', out);
    }
    fputc('\'', out);
}

FILE *orth_plot_block(orth_plot *plot)
{
    if (plot->blocks > 0)
        fputs("\n\n", plot->data);
    return plot->data;
}

void orth_plot_use(orth_plot *plot, const char *using, int style, const char *title)
{
    fprintf(plot->curves, "%s  '%s.dat' index %d %s ls %d",
            plot->length || plot->blocks ? ", \\\n" : "", plot->name, plot->blocks, using, style);
    if (plot->sign)
        fprintf(plot->curves, " pt %d", plot->sign);
    write_title(plot, title);
    fflush(plot->curves);
    plot->blocks++;
}

/* gnuplot counts blocks by the two empty lines between them: a gap is one line, and a curve without
 * a point is none. */
void orth_plot_curve(orth_plot *plot, const json_t *x, const json_t *y, const char *how, int style,
                     const char *title)
{
    char using[256];
    FILE *data = NULL;
    bool gap = false;
    for (size_t i = 0; i < json_array_size(x) && i < json_array_size(y); i++) {
        const json_t *a = json_array_get(x, i), *b = json_array_get(y, i);
        bool point = json_is_number(a) && json_is_number(b);
        if (point && !data)
            data = orth_plot_block(plot);
        if (point)
            fprintf(data, "%s%.9g %.9g\n", gap ? "\n" : "", json_number_value(a),
                    json_number_value(b));
        gap = !point && data;
    }
    if (!data)
        return;
    snprintf(using, sizeof using, "using 1:2 %s", how);
    orth_plot_use(plot, using, style, title);
}

void orth_plot_expression(orth_plot *plot, const char *expression, const char *title)
{
    fprintf(plot->curves, "%s  %s", plot->length ? ", \\\n" : "", expression);
    write_title(plot, title);
    fflush(plot->curves);
}

int orth_plot_style(size_t model)
{
    return model < COLOURS ? orth_plot_colour(model)
                           : AGAIN + COLOURS + (int)((model - COLOURS) % (STYLES - COLOURS));
}

int orth_plot_colour(size_t model)
{
    return (int)(model % COLOURS) + 1;
}

static void remove_part(const orth_plot *plot, const char *ending)
{
    char *path = NULL;
    if (orth_path_format(&path, "%s/%s.%s", plot->folder, plot->name, ending) == ORTH_OK)
        unlink(path);
    free(path);
}

static bool close_part(FILE *file)
{
    bool failed = file && ferror(file);
    return (file && fclose(file) != 0) || failed;
}

orth_status orth_plot_end(orth_plot *plot, orth_status status)
{
    bool failed = close_part(plot->curves);
    bool empty = plot->blocks == 0;
    if (plot->script && plot->text && plot->settings) {
        write_head(plot);
        fprintf(plot->script,
                "set terminal @svg\nset output '%s.svg'\nplot \\\n%s\nset terminal @png\n"
                "set output '%s.png'\nreplot\nset output\n",
                plot->name, plot->text, plot->name);
    }
    failed = close_part(plot->script) || failed;
    failed = close_part(plot->data) || failed;
    free(plot->text);
    free(plot->settings);
    if (status == ORTH_OK && failed)
        status = refuse(plot, "write");
    if (empty) {
        remove_part(plot, "gp");
        remove_part(plot, "dat");
    }
    return status;
}
