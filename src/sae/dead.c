#include <orthant/sae/dead.h>

#include <orthant/base/memory.h>
#include <orthant/par/collective.h>

#include <string.h>

/* A latent counts as fired above this value in Gao et al.'s code. */
static const float FIRED_ABOVE = 1e-3f;

orth_status orth_dead_create(int64_t n_own, orth_dead *out)
{
    orth_dead dead = {0};
    orth_status status = ORTH_ALLOCATE(n_own, "dead latents", &dead.fired);
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

orth_status orth_dead_update(orth_sae *sae, const orth_code *code, orth_dead *dead)
{
    int64_t n_own = orth_range_size(sae->own);
    float above = sae->recipe.dead == ORTH_DEAD_TOKENS ? FIRED_ABOVE : 0.0f;
    memset(dead->fired, 0, (size_t)n_own);
    for (int64_t e = 0; e < orth_code_entries(code); e++)
        if (code->value[e] > above)
            dead->fired[code->latent[e]] = 1;
    ORTH_TRY(orth_allreduce(dead->fired, n_own, MPI_UINT8_T, MPI_BOR, sae->grid->peers));
    dead->n_own = 0;
    for (int64_t i = 0; i < n_own; i++)
        if (count_step(&sae->recipe, dead->fired[i], sae->steps_since_fired + i))
            dead->index[dead->n_own++] = (uint32_t)i;
    dead->n_dead = dead->n_own;
    return orth_allreduce(&dead->n_dead, 1, MPI_INT64_T, MPI_SUM, sae->grid->group);
}
