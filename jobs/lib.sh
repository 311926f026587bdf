# Sourced by submit, submit_all and every job: settings, the command line of satori-hpc, and requeueing of jobs that
# stop before they are done. Expects JOBS (this folder), RUN, and SATORI_SITE (a further file of settings, or "").
# shellcheck shell=bash

die() { echo "jobs: $*" >&2; exit 2; }

set_up() { # reads the settings; INSIDE: the prefix that runs a command in the image
    # shellcheck source=site.env
    source "$JOBS/site.env"
    if [ -n "$SATORI_SITE" ]; then
        [ -f "$SATORI_SITE" ] || die "SATORI_SITE=$SATORI_SITE: no such file"
        # shellcheck source=/dev/null
        source "$SATORI_SITE"
    fi
    local module
    for module in ${MODULES[@]+"${MODULES[@]}"}; do module load "$module"; done
    export PYTHONNOUSERSITE=1    # packages in ~/.local shadow those of the image or environment
    export SLURM_EXPORT_ENV=ALL  # srun passes on variables exported here, even if sbatch passed on none
    if [ -n "$INTERFACE" ]; then export GLOO_SOCKET_IFNAME=$INTERFACE NCCL_SOCKET_IFNAME=$INTERFACE; fi
    if [ -n "$SATORI_IMAGE" ]; then in_image; else in_environment; fi
}

in_image() {
    local tool folder
    [ -f "$SATORI_IMAGE" ] || die "SATORI_IMAGE=$SATORI_IMAGE: no such file; make it with containers/build"
    tool=$(command -v apptainer || command -v singularity) ||
        die "there is no apptainer here to run SATORI_IMAGE with; if it is in a module, name that in MODULES of site.env"
    unset PYTHONPATH PYTHONHOME  # of the host's Python; the image has its own
    INSIDE=("$tool" exec)
    if [ -e /dev/nvidiactl ]; then INSIDE+=(--nv); fi
    for folder in "$RUN" ${BIND[@]+"${BIND[@]}"}; do
        case $folder in *[,:]*) die "$folder: an image can be given no folder with a comma or colon in its name" ;; esac
        INSIDE+=(--bind "$folder")
    done
    INSIDE+=(--pwd "$RUN" "$SATORI_IMAGE")
}

in_environment() {
    local venv=${SATORI_VENV:-$(dirname "$JOBS")/.venv}
    [ -x "$venv/bin/satori-hpc" ] || die "$venv has no satori-hpc; set SATORI_IMAGE or SATORI_VENV in $JOBS/site.env"
    export PATH="$venv/bin:$PATH"
    INSIDE=()
}

inside() { ${INSIDE[@]+"${INSIDE[@]}"} "$@"; }

satori() { inside satori-hpc "$@"; }

setting() { # STAGE NAME: the value of STAGE_NAME, else of DEFAULT_NAME
    local own=${1^^}_$2 general=DEFAULT_$2
    echo "${!own:-${!general:-}}"
}

# --- inside a job ------------------------------------------------------------------------------------------------------

begin() { # STAGE, at the start of its job
    STAGE=$1
    # Sites that set it to 1 by default mean programs without a request for cores; a value in site.env takes precedence.
    if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK; fi
    set_up
    # scancel and scontrol take the bare id of an array's last task for the whole array.
    JOB=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
    JOB=${JOB:-$SLURM_JOB_ID}
    RESTARTS=${SLURM_RESTART_COUNT:-0}
    DEVICE=auto
    # shellcheck disable=SC2034
    if [ -n "${SLURM_JOB_GPUS:-}${SLURM_STEP_GPUS:-}" ]; then DEVICE=cuda; fi  # never the CPU where a GPU is paid for
    echo "--- $STAGE, job $JOB, restart $RESTARTS, on $SLURM_JOB_NODELIST, $(date '+%F %T')"
}

# Resumable work is started in the background, because bash handles a signal only between two commands.
# USR1 comes WARN_SECONDS before the time limit (or from scancel --batch --signal=USR1), TERM from a preemption.

start() { # COMMAND...
    INTERRUPTED='' TOLD=''
    trap 'INTERRUPTED=yes; stop' USR1 TERM
    "$@" &
    WORK=$!
}

on_tasks() { # MPI ARGUMENTS...: satori-hpc on all tasks of the job; MPI is the PMI type for srun
    start srun --mpi="$1" --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
        ${INSIDE[@]+"${INSIDE[@]}"} satori-hpc "${@:2}"
}

stop() { # on a signal, forwards a stop request to all steps of the job
    if [ -n "$TOLD" ]; then return; fi
    TOLD=yes
    echo "--- job $JOB is to stop, $(date '+%F %T')"
    if [ "$STAGE" = train ]; then touch "$RUN/STOP"; fi  # works even if a signal gets lost
    scancel --signal=TERM "$JOB" || true
}

finish() { # waits for the work and ends the job: with its status, or requeued
    local status
    while :; do
        status=0
        wait "$WORK" || status=$?
        [ -n "$INTERRUPTED" ] || break
        INTERRUPTED=''  # that was the status of `wait`; bash keeps the status of the work
    done
    trap '' USR1 TERM
    if [ "$status" = 0 ]; then exit 0; fi
    # 75: training stopped on request; 143: ended by TERM. Any other unrequested status is an error.
    if [ -n "$TOLD" ] || [ "$status" = 75 ] || [ "$status" = 143 ] || tasks_told; then again; fi
    exit "$status"
}

tasks_told() { # whether this start's log says so: srun also reports ranks killed after the one ended by TERM
    awk '/^--- /{told=0} /stopped by SIGTERM/{told=1} END{exit !told}' "$RUN/logs/${STAGE}_$JOB.log" 2>/dev/null
}

again() {
    local state
    state=$(squeue --noheader --jobs="$JOB" --format=%T || true)
    case $state in
    COMPLETING | CANCELLED | PENDING) echo "--- job $JOB was ended from outside" >&2 ;;  # scancel, requeue, time limit
    *)
        if [ "$RESTARTS" -ge "$MAX_RESTARTS" ]; then
            echo "--- job $JOB was started $((RESTARTS + 1)) times, as often as MAX_RESTARTS allows: see whether" \
                "its time limit is too short, then go on with jobs/submit_all" >&2
        elif scontrol requeue "$JOB"; then
            sleep 60  # until Slurm ends this script
        fi
        ;;
    esac
    exit 75
}
