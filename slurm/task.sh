# shellcheck shell=bash
# What task N of an array trains; array.sbatch and array.pbs read this file.

# task_settings N seed|fold|sweep [FILE] [settings of fit]: leaves all settings of the task in the array `settings`.
task_settings() {
    local task=$1 kind=${2:-}
    shift "$(($# < 2 ? $# : 2))"
    case $kind in
        seed) settings=(--seed_everything "$task" --data.seed "$task" "$@") ;;
        fold) settings=(--data.folds 5 --data.fold "$task" "$@") ;;
        sweep)
            [[ -f ${1:-} ]] || { echo "error: sweep '${1:-}': no such file in $PWD" >&2 && exit 2; }
            # shellcheck disable=SC2034  # read by who sources this
            settings=(--sweep "$1" --point "$task" "${@:2}")
            ;;
        *)
            echo "error: the first word is '$kind'; expected seed, fold or sweep FILE" >&2
            exit 2
            ;;
    esac
}
