# shellcheck shell=bash
# Sourced by the *.sbatch files: how Orthant is started, in a SLURM job and without SLURM.
#
#   orthant_run VERB ...     one start on all ranks; returns its exit code
#   orthant_train ...        `train`: one start in a job; without SLURM again and again until it is done
#   orthant_leave CODE       the end of a script: 75 and 76 put the job back into the queue
#
# In a job, srun starts what the allocation says. Without SLURM it is mpirun on this machine:
#   ORTHANT_RANKS     ranks (default: one for each NUMA domain)
#   OMP_NUM_THREADS   threads of each (default: the cores, divided among the ranks)
#   ORTHANT_MPIRUN    launcher and its flags, when those chosen here do not suit: a host file, several
#                     runs side by side ("mpirun --bind-to none")
# ORTHANT names another program than build/release/orthant.

ORTHANT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ORTHANT_ROOT

orthant_error() { # CODE WORDS...
    echo "orthant: error: ${*:2}" >&2
    exit "$1"
}

# The job as SLURM's commands name it. The last task of an array has the number of the whole array:
# without the underscore, one task's requeue would start all of them over.
orthant_job=${SLURM_JOB_ID:-}
if [[ -n $orthant_job && -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
    orthant_job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
fi

# orthant_in_job: the ranks and threads of the allocation, and the time it ends.
orthant_in_job() {
    local end
    orthant_ranks=${SLURM_NTASKS:-1}
    orthant_srun=() # options of srun besides those of orthant_run
    # One thread for each CPU of a task; srun keeps the task on them. OMP_PROC_BIND stays unset: the
    # threads that read ahead would be kept on the first thread's core.
    export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
    # The program stops in time when it knows the end, in UNIX seconds. Older versions of SLURM do
    # not set it, and a job submitted from another one inherits that one's.
    if end=$(SLURM_TIME_FORMAT=standard squeue --noheader --jobs="$orthant_job" --format=%e) &&
        [[ -n $end ]] && end=$(date --date="$end" +%s 2>/dev/null); then # no words are midnight
        export SLURM_JOB_END_TIME=$end
    fi
    echo "orthant: job $orthant_job, start $((${SLURM_RESTART_COUNT:-0} + 1)): $orthant_ranks ranks x" \
        "$OMP_NUM_THREADS threads on $SLURM_JOB_NODELIST"
}

# orthant_count COLUMNS: how many different ones this machine has.
orthant_count() {
    lscpu --parse="$1" 2>/dev/null | grep -v '^#' | sort -u | wc -l
}

# orthant_on_machine: the same without SLURM, and the launcher.
orthant_on_machine() {
    local cores processors
    processors=$(env -u OMP_NUM_THREADS nproc)
    cores=$(orthant_count Core,Socket)
    ((cores > 0 && cores < processors)) || cores=$processors
    orthant_ranks=$(orthant_count Node)
    ((orthant_ranks > 0)) || orthant_ranks=1
    orthant_ranks=${ORTHANT_RANKS:-$orthant_ranks}
    [[ $orthant_ranks =~ ^[1-9][0-9]*$ ]] ||
        orthant_error 2 "ORTHANT_RANKS: '$orthant_ranks' is not a number of ranks; give 1 or more"
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > orthant_ranks ? cores / orthant_ranks : 1))}
    orthant_cores=$cores
}

# orthant_mpirun: the launcher for orthant_ranks ranks, into the array `orthant_launcher`.
orthant_mpirun() {
    if [[ -n ${ORTHANT_MPIRUN:-} ]]; then
        read -ra orthant_launcher <<<"$ORTHANT_MPIRUN"
        return
    fi
    orthant_launcher=("${MPIRUN[@]}")
    # By itself Open MPI binds each of one or two ranks to one core, and all its threads with it.
    if ((${#MPIRUN[@]} > 1 && orthant_ranks * OMP_NUM_THREADS <= orthant_cores)); then
        orthant_launcher=("${MPIRUN[0]}" --bind-to core
            --map-by "ppr:$orthant_ranks:node:PE=$OMP_NUM_THREADS")
    fi
}

# orthant_wait PID: its exit code. The ranks are not in the terminal's group, and a signal for this
# script (Ctrl-C, kill, a closed terminal) becomes the one that stops them with a checkpoint:
# mpirun would give them two seconds after any other.
orthant_stopped=no
orthant_wait() {
    local status signalled=yes
    # shellcheck disable=SC2064 # the pid of now
    trap "signalled=yes orthant_stopped=yes; kill -USR1 $1 2>/dev/null || true" INT TERM HUP USR1
    while [[ $signalled == yes ]]; do
        signalled=no status=0
        wait "$1" || status=$?
    done
    trap - INT TERM HUP USR1
    return "$status"
}

orthant_run() {
    if [[ -n $orthant_job ]]; then
        # A rank that is killed takes the others with it 20 s later. Not at once by
        # --kill-on-bad-exit=1: 75 is a bad exit as well, and a rank that is a moment slower to leave
        # would be killed, so that srun returned 137 and the job were not requeued.
        srun --mpi="${SLURM_MPI_TYPE:-pmix}" --kill-on-bad-exit=0 --wait=20 \
            --cpus-per-task="$OMP_NUM_THREADS" --cpu-bind=cores \
            ${orthant_srun[@]+"${orthant_srun[@]}"} "$orthant_program" "$@"
        return
    fi
    local status=0
    orthant_mpirun
    setsid "${orthant_launcher[@]}" -n "$orthant_ranks" "$orthant_program" "$@" </dev/null &
    orthant_wait $! || status=$?
    return "$status"
}

# orthant_goes_on CODE: 75 is a stop with a checkpoint, 76 a run that stood still (run.watchdog). The
# program itself refuses a start after three that made no progress, and leaves with 7 where it stands
# still before it knows of progress and was started again three times.
orthant_goes_on() {
    (($1 == 75 || $1 == 76))
}

orthant_train() {
    local status starts=0
    while true; do
        status=0
        # For the program's count of starts without progress; in a job SLURM counts.
        [[ -n $orthant_job ]] || export ORTHANT_RESTART_COUNT=$((starts++))
        orthant_run train "$@" || status=$?
        if ! orthant_goes_on "$status" || [[ -n $orthant_job || $orthant_stopped == yes ]]; then
            return "$status"
        fi
        echo "orthant: exit code $status: going on from the newest checkpoint"
    done
}

orthant_leave() {
    if orthant_goes_on "$1" && [[ -n $orthant_job ]]; then
        echo "orthant: exit code $1: job $orthant_job goes back into the queue"
        if scontrol requeue "$orthant_job"; then
            exit 0
        fi
        echo "orthant: error: job $orthant_job: SLURM does not take it back; submit it again," \
            "and it continues" >&2
    fi
    if (($1 > 128)); then
        echo "orthant: error: signal $(($1 - 128)) ended a rank (9: perhaps for want of memory, see" \
            "orthant plan); the same command goes on from the newest checkpoint" >&2
    fi
    exit "$1"
}

if [[ -n $orthant_job ]]; then
    # shellcheck source=jobs/load-site.sh
    source "$ORTHANT_ROOT/jobs/load-site.sh"
else
    # shellcheck source=jobs/environment.sh
    source "$ORTHANT_ROOT/jobs/environment.sh"
fi
orthant_program=${ORTHANT:-$ORTHANT_ROOT/build/release/orthant}
[[ -x $orthant_program ]] ||
    orthant_error 2 "$orthant_program: not there; build it (bash jobs/build.sh) or set ORTHANT"
if [[ -n $orthant_job ]]; then orthant_in_job; else orthant_on_machine; fi
