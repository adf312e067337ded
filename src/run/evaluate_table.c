/* An evaluation, or several, as a table. */
#include <orthant/run/evaluate.h>

#include <inttypes.h>

static double percent(int64_t part, int64_t whole)
{
    return 100.0 * (double)part / (double)whole;
}

/* |z| against |f~|. */
static void print_norms(const orth_evaluation *evaluation, FILE *out)
{
    const orth_quality *q = &evaluation->quality;
    const orth_zf_counts *c = &q->zf_counts;
    fprintf(out,
            "over-activated      %.4g %% of the tokens (|f~| > |z|), under-activated %.4g %%\n",
            percent(c->over, q->tokens), percent(c->under, q->tokens));
    fprintf(out, "within the bounds  ");
    for (int i = 0; i < ORTH_ZF_BOUNDS; i++)
        fprintf(out, " %.4g %% (eps (n-1) = %g)%s",
                percent(q->tokens - c->above[i] - c->below[i], q->tokens), orth_zf_eps[i],
                i + 1 < ORTH_ZF_BOUNDS ? "," : "\n");
    if (evaluation->has_eps)
        fprintf(out,
                "quasi-orthogonality eps_max %.6g; largest ratio of a token %.6g, violations "
                "%" PRId64 ", |z| within %.4g %%\n",
                evaluation->eps_unit, q->quasi.largest, q->quasi.violations,
                percent(q->quasi.within, q->tokens));
}

void orth_evaluation_print(const orth_evaluation *evaluation, FILE *out)
{
    const orth_quality *q = &evaluation->quality;
    fprintf(out, "tokens              %" PRId64 "\n", q->tokens);
    fprintf(out, "mse                 %.6g\n", q->mse);
    fprintf(out, "nmse                %.6g\n", q->nmse);
    fprintf(out, "fvu                 %.6g\n", q->fvu);
    fprintf(out, "explained variance  %.6g\n", 1.0 - q->fvu);
    fprintf(out, "cosine              %.6g\n", q->cosine);
    fprintf(out, "l0                  %.6g (5%% %g, median %g, 95%% %g, max %" PRId64 ")\n", q->l0,
            q->l0_p5, q->l0_p50, q->l0_p95, q->l0_max);
    fprintf(out, "dead latents        %" PRId64 " of %" PRId64 "\n", q->dead, q->n_latent);
    fprintf(out, "rare latents        %" PRId64 "\n", q->rare);
    fprintf(out, "afa                 %.6g\n", q->afa);
    fprintf(out, "eLBO                %.6g (median; quartiles %.6g, %.6g; mean %.6g)\n",
            q->elbo_median, q->elbo_q25, q->elbo_q75, q->elbo_mean);
    fprintf(out, "description length  %.6g bits a token\n", q->description_length);
    if (evaluation->has_eps)
        fprintf(out,
                "eps                 max %.6g, mean %.6g (absolute: %.6g, %.6g; Welch bound "
                "%.6g)\n",
                evaluation->eps.max, evaluation->eps.mean, evaluation->eps.max_abs,
                evaluation->eps.mean_abs, evaluation->eps.welch);
    print_norms(evaluation, out);
}

void orth_evaluation_print_all(const orth_evaluation *evaluations, const char *const *models,
                               int64_t count, FILE *out)
{
    fprintf(out, "%12s %12s %12s %12s %10s  model\n", "L0", "mse", "fvu", "eLBO", "dead");
    for (int64_t i = 0; i < count; i++) {
        const orth_quality *q = &evaluations[i].quality;
        fprintf(out, "%12.6g %12.6g %12.6g %12.6g %10" PRId64 "  %s\n", q->l0, q->mse, q->fvu,
                q->elbo_median, q->dead, models[i]);
    }
}
