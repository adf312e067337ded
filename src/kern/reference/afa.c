/* Top-AFA's sums one candidate at a time, in portable C. */
#include "../afa_rows.h"
#include "../sets.h"

static void tally(const orth_afa_token *token, const orth_afa_window *window, orth_afa_tally *out)
{
    rows_afa_tally(token, window, out);
}

static int64_t collect(const orth_afa_token *token, uint64_t low, uint64_t high,
                       orth_afa_entry *entries)
{
    return rows_afa_collect(token, low, high, entries);
}

static int64_t select_candidates(const orth_afa_token *token, const orth_afa_cut *cut, int64_t room,
                                 uint32_t *latents, float *values)
{
    return rows_afa_select(token, cut, room, latents, values);
}

const orth_afa_kernels orth_afa_reference = {
    .tally = tally, .collect = collect, .select = select_candidates};
