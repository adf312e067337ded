#ifndef ORTHANT_SRC_SAE_TOPAFA_H
#define ORTHANT_SRC_SAE_TOPAFA_H

#include "topafa_cut.h"

#include <orthant/sae/selection.h>

/** Entries of a token that are judged one by one rather than narrowed down in another round. */
enum { TOPAFA_JUDGED = 384 };

/** A token's tally on its way through the token group. */
typedef struct topafa_message {
    orth_afa_tally tally;
    uint64_t positive; ///< first round: entries with s > 0
} topafa_message;

/** What the ranks of a token group exchange. */
typedef struct topafa_group {
    int64_t *active;          ///< (block) slots that are still searched
    topafa_message *messages; ///< (block) of those, in their order
    int64_t *received;        ///< (shards, largest part) entries of each shard and judged token
    int64_t *at;              ///< (largest part, shards) where those lie in `receive`
    int64_t *room;            ///< (largest part) where a judged token's entries meet in `send`
    orth_afa_entry *send, *receive;
    int64_t send_capacity, receive_capacity;
} topafa_group;

typedef struct topafa_state {
    topafa_crossing *crossings; ///< (block)
    orth_afa_cut *cuts;         ///< (block)
    double *squares;            ///< (block) t^2
    int64_t *counts;            ///< (block) own entries: sent to the judge, then selected
    orth_afa_entry *scratch;    ///< (threads, capacity)
    double norm_least, norm_most;
    topafa_guess guess; ///< from the block before
    topafa_group group;
} topafa_state;

/** The own candidates of a token of the block. */
orth_afa_token topafa_token(const orth_selection *selection, int64_t slot);

/** How many of them have s > 0. */
uint64_t topafa_positive(const orth_afa_token *token);

/** Set `cuts` and `counts` (the number selected here) of the block's tokens. Collective over the
 * token group, which has several ranks. */
orth_status topafa_agree_cuts(orth_selection *selection);

/** Allocate and free what that needs. Local. */
orth_status topafa_group_create(orth_selection *selection);
void topafa_group_free(topafa_group *group);

#endif
