#ifndef ORTHANT_RUN_PLAN_H
#define ORTHANT_RUN_PLAN_H

#include <orthant/base/status.h>
#include <orthant/par/phase.h>
#include <orthant/run/config.h>

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * What a training job will need and do, told before it is submitted: the grid, memory of a rank,
 * bytes that a rank receives in a step, time of a step. Memory is asked of the code that allocates
 * (orth_memory_count) and bytes follow the messages of a step one by one; time comes from the rates
 * of `orthant bench` on one node, or from rough ones.
 */

/** What memory is for; the names are the keys of the JSON. */
typedef enum orth_plan_store {
    ORTH_STORE_PARAMETERS,
    ORTH_STORE_MOMENTS,
    ORTH_STORE_AVERAGE,
    ORTH_STORE_GRADIENT,
    ORTH_STORE_TOKENS,
    ORTH_STORE_CODES,
    ORTH_STORE_SCRATCH,
    ORTH_STORE_PROGRAM,
    ORTH_STORE_COUNT
} orth_plan_store;

/** Why ranks exchange bytes in a step; the names are the keys of the JSON. */
typedef enum orth_plan_traffic {
    ORTH_TRAFFIC_TOKENS,         ///< every rank of a token group gets the rows that the others read
    ORTH_TRAFFIC_BOUNDS,         ///< screening: what every shard holds for sure, and its cut
    ORTH_TRAFFIC_CANDIDATES,     ///< what may be selected goes to the token's judge
    ORTH_TRAFFIC_SEARCH,         ///< rounds of a search for the cut, over all entries
    ORTH_TRAFFIC_CUTS,           ///< the judge's answer
    ORTH_TRAFFIC_RECONSTRUCTION, ///< the other shards' parts of it, of the rank's own tokens
    ORTH_TRAFFIC_UPSTREAM,       ///< the loss's gradient to it, of the others' tokens
    ORTH_TRAFFIC_GRADIENT,       ///< of the rows that a rank updates; then the rows of its peers
    ORTH_TRAFFIC_FLAGS,          ///< statuses, signals, fired latents, counts
    ORTH_TRAFFIC_METRICS,        ///< loss terms and what is logged
    ORTH_TRAFFIC_COUNT
} orth_plan_traffic;

/** The communicators of orth_grid. */
typedef enum orth_plan_comm {
    ORTH_COMM_WORLD,
    ORTH_COMM_GROUP,
    ORTH_COMM_PEERS,
    ORTH_COMM_COUNT
} orth_plan_comm;

extern const char *const orth_plan_store_names[];
extern const char *const orth_plan_traffic_names[];
extern const char *const orth_plan_comm_names[];

/** What the user says about the job and the machine. */
typedef struct orth_plan_options {
    int ranks;
    int ranks_per_node; ///< 0: all on one node
    int threads;        ///< of a rank
    double latency;     ///< of a message between nodes, seconds
    double bandwidth;   ///< of a node's network, bytes a second
    double density;     ///< topafa: share of the latents that a token selects; 0: assumed
    double memory;      ///< of a node, bytes; 0: this machine's
    int64_t d_model;    ///< for data that cannot be opened yet; 0: of the data
    const char *bench;  ///< JSON of `orthant bench`; NULL: rough rates
} orth_plan_options;

/** The job, resolved: every size that the parts of a plan follow from. */
typedef struct orth_plan_problem {
    orth_config config; ///< the caller's, with n_latent and aux.k resolved; borrows its strings
    orth_plan_options options;
    int64_t d_model;
    int64_t rows;      ///< of the data, 0: unknown
    int64_t row_bytes; ///< of a row as stored
    int64_t steps;
    double entries;      ///< of the code, per token over the whole dictionary
    double most_entries; ///< the same that memory is judged by: topafa's first codes are denser
    double program;      ///< bytes that this process has used before anything is planned
} orth_plan_problem;

/** Bytes of the rank that needs the most. */
typedef struct orth_plan_memory {
    double store[ORTH_STORE_COUNT];
    double total;
    double dead;             ///< more once latents are dead: AuxK's
    double held;             ///< more while the clip may bind: the gradient of the rank's rows
    double most;             ///< all of it
    double start;            ///< the peak of initialisation, the sample included
    int64_t block;           ///< tokens that are encoded at a time
    int64_t aux_block;       ///< the same of AuxK; 0: none
    orth_encode_kind encode; ///< how pre-activations are computed: fp32, or a screening
    double checkpoint;       ///< bytes of a checkpoint file
} orth_plan_memory;

/** Bytes that a rank receives from others, and in how many messages one after another. */
typedef struct orth_plan_flow {
    int64_t bytes[ORTH_TRAFFIC_COUNT][ORTH_COMM_COUNT];
    int64_t messages[ORTH_TRAFFIC_COUNT][ORTH_COMM_COUNT];
} orth_plan_flow;

/**
 * Traffic of one rank. Received bytes are counted as the receive buffers of its MPI calls less its
 * own part; an allreduce counts its buffer once; calls on one rank count nothing. What depends on
 * the data is counted so: `candidates` as if every shard had k positive pre-activations for every
 * token (then it is exact; with a screening it is the most), likewise `bounds`; for topafa without
 * the judged entries; `search` as one round.
 */
typedef struct orth_plan_rank_flow {
    orth_plan_flow step;   ///< every step
    orth_plan_flow logged; ///< more on a logged step
    orth_plan_flow dead;   ///< more on a step with dead latents
} orth_plan_rank_flow;

/** Seconds. */
typedef struct orth_plan_time {
    double phase[ORTH_PHASE_COUNT]; ///< of a step; checkpoints spread over the steps
    double step;
    double checkpoint; ///< of one checkpoint
    double run;        ///< of the whole run
} orth_plan_time;

/** One way to arrange the ranks. */
typedef struct orth_plan_layout {
    int n_group;
    int n_shard;
    orth_plan_memory memory;
    orth_plan_rank_flow flow; ///< of the rank that receives the most in a step
    int64_t flow_rank;        ///< which that is
    orth_plan_time time;
    bool fits;
} orth_plan_layout;

/** The whole plan. Free with orth_plan_free. */
typedef struct orth_plan {
    orth_plan_problem problem;
    bool rough; ///< no measured rates, or such of small or other sizes
    char why_rough[96];
    char machine[160];  ///< what the rates are of
    double node_memory; ///< bytes that a node has
    orth_plan_layout *layouts;
    int n_layout;
    int chosen;
} orth_plan;

/**
 * Plan. `config` stays the caller's and must outlive the plan. Looks at the data's header where it
 * can be opened. Local: no message is sent. ORTH_ERR_USAGE or ORTH_ERR_DATA where the options, the
 * grid, the data or the bench file are wrong. Whether it fits is another question: orth_plan_check.
 */
orth_status orth_plan_make(const orth_config *config, const orth_plan_options *options,
                           orth_plan *out);
void orth_plan_free(orth_plan *plan);

/** ORTH_ERR_USAGE when the chosen grid does not fit into the memory of its nodes; says what to
 * change. */
orth_status orth_plan_check(const orth_plan *plan);

/** Print what a user wants to know, as text. */
void orth_plan_print(const orth_plan *plan, FILE *out);

struct json_t;

/** The same figures and more as a new JSON object (jansson), NULL when memory runs out. */
struct json_t *orth_plan_json(const orth_plan *plan);

/**
 * Memory of a rank on a grid: params, moments and buffers as the code allocates them with
 * `threads` threads, codes of problem->entries, what MPI and libraries take. Allocates nothing that
 * counts; to be called outside parallel regions. Local.
 */
orth_status orth_plan_memory_of(const orth_plan_problem *problem, int n_group, int n_shard,
                                orth_plan_memory *out);

/** Traffic of rank `rank` of a grid. `memory` tells the blocks of its encoder. Pure arithmetic. */
void orth_plan_flow_of(const orth_plan_problem *problem, int n_group, int n_shard, int rank,
                       const orth_plan_memory *memory, orth_plan_rank_flow *out);

/** All bytes of a flow. */
int64_t orth_plan_flow_bytes(const orth_plan_flow *flow);

#endif
