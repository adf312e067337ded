#include <orthant/sae/dead.h>

#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <omp.h>
#include <string.h>

/* A latent counts as fired above this value in Gao et al.'s code. */
static const float FIRED_ABOVE = 1e-3f;

/* Threads that mark flags of their own; more would only take memory. */
enum { MOST_PARTS = 8 };

orth_status orth_dead_create(int64_t n_own, orth_dead *out)
{
    int threads = omp_get_max_threads();
    orth_dead dead = {.parts = threads < MOST_PARTS ? threads : MOST_PARTS};
    orth_status status = ORTH_ALLOCATE(dead.parts * n_own, "dead latents", &dead.fired);
    if (status == ORTH_OK)
        status = ORTH_ALLOCATE(n_own, "dead latents", &dead.index);
    if (status == ORTH_OK)
        *out = dead;
    else
        orth_dead_free(&dead);
    return status;
}

void orth_dead_free(orth_dead *dead)
{
    orth_free(dead->fired);
    orth_free(dead->index);
    memset(dead, 0, sizeof *dead);
}

static bool count_step(const orth_recipe *recipe, bool fired, int64_t *count)
{
    if (recipe->dead == ORTH_DEAD_TOKENS) {
        *count = fired ? 1 : *count + 1;
        return *count > recipe->dead_tokens / recipe->batch;
    }
    *count = fired ? 0 : *count + 1;
    return *count >= recipe->dead_batches;
}

/* fired[i] = 1 for each own latent with an entry above the limit. Threads have flags of their own:
 * thousands of entries of a token fall on the same ones. */
static void mark_fired(const orth_code *code, float above, int64_t n_own, orth_dead *dead)
{
    int parts = dead->parts;
#pragma omp parallel for schedule(static, 1)
    for (int p = 0; p < parts; p++) {
        uint8_t *fired = dead->fired + p * n_own;
        orth_range tokens = orth_partition(code->n_token, parts, p);
        memset(fired, 0, (size_t)n_own);
        for (int64_t e = code->start[tokens.begin]; e < code->start[tokens.end]; e++)
            if (code->value[e] > above)
                fired[code->latent[e]] = 1;
    }
    for (int p = 1; p < parts; p++)
        for (int64_t i = 0; i < n_own; i++)
            dead->fired[i] |= dead->fired[p * n_own + i];
}

orth_status orth_dead_update(orth_sae *sae, const orth_code *code, orth_dead *dead)
{
    int64_t n_own = orth_range_size(sae->own);
    float above = sae->recipe.dead == ORTH_DEAD_TOKENS ? FIRED_ABOVE : 0.0f;
    mark_fired(code, above, n_own, dead);
    ORTH_TRY(orth_allreduce(dead->fired, n_own, MPI_UINT8_T, MPI_BOR, sae->grid->peers));
    dead->n_own = 0;
    for (int64_t i = 0; i < n_own; i++)
        if (count_step(&sae->recipe, dead->fired[i], sae->steps_since_fired + i))
            dead->index[dead->n_own++] = (uint32_t)i;
    dead->n_dead = dead->n_own;
    return orth_allreduce(&dead->n_dead, 1, MPI_INT64_T, MPI_SUM, sae->grid->group);
}
