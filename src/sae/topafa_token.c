#include "topafa.h"

orth_afa_token topafa_token(const orth_selection *selection, int64_t slot)
{
    const topafa_state *state = selection->own_state;
    const orth_candidates *c = &selection->candidates;
    return (orth_afa_token){.keys = c->keys + slot * c->capacity,
                            .n = c->count[slot],
                            .norm = selection->decoder_norm,
                            .first = (uint32_t)selection->own.begin,
                            .norm_least = state->norm_least,
                            .norm_most = state->norm_most,
                            .target_square = state->squares[slot]};
}

uint64_t topafa_positive(const orth_afa_token *token)
{
    uint64_t count = 0;
    if (token->norm_least > 0.0)
        return (uint64_t)token->n;
    for (int64_t i = 0; i < token->n; i++)
        count += orth_afa_strength(token, token->keys[i]) > 0;
    return count;
}
