# bash completion for weir(1)

# The names of limits (or, with --resources, of those) that begin with $cur, from the agent that
# the line speaks of. A resource may have the name of a limit.
_weir_limits() {
  local name quoted
  while IFS= read -r name; do
    [[ $name == "$cur"* ]] || continue
    quoted=$(printf '%q' "$name")
    [[ " ${COMPREPLY[*]} " == *" $quoted "* ]] || COMPREPLY+=("$quoted")
  done < <(weir "${globals[@]}" list "$@" --names 2>/dev/null)
}

_weir_words() {
  COMPREPLY+=($(compgen -W "$1" -- "$cur"))
}

_weir_files() {
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen -f -- "$cur"))
}

_weir_command_options() {
  case $command in
    list) _weir_words '--domain --sort --names --resources' ;;
    show) _weir_words '--domain' ;;
    top) _weir_words '--delay --sort --filter --resources --once --width --samples' ;;
    take) _weir_words '--tokens --wait --class --allow-without-agent' ;;
    apply) _weir_words '--save --dry-run' ;;
    diff) _weir_words '--exit-code' ;;
    cluster) _weir_words 'status hosts top' ;;
    quota) _weir_words '--api --api-ca --token-file --namespace --once --total --type --period --timezone \
      --valid-until --rate --burst --agent --chunk --lost --limit --after' ;;
    audit) _weir_words '--api --api-ca --token-file --namespace --action --from --to --page --page-size \
      --before' ;;
    breaker) _weir_words '--domain --for' ;;
    degrade) _weir_words '--domain --for --drill' ;;
    load) _weir_words '--domain --orca' ;;
    doctor) _weir_words '--rules --all' ;;
    bench) _weir_words '--seconds --threads' ;;
  esac
  _weir_words '--socket --runtime-dir --output --color --no-header --help'
}

_weir() {
  local cur prev cword command='' positionals=0 i
  local -a words globals=()
  COMPREPLY=()
  # Names of limits may contain colons, at which bash would cut them.
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n : cur prev words cword
  else
    words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    cur=${words[cword]} prev=${words[cword - 1]}
  fi

  for ((i = 1; i < cword; i++)); do
    case ${words[i]} in
      --)
        # A command of its own, with its own completion.
        if [[ $command == take ]] && declare -F _command_offset >/dev/null; then
          _command_offset $((i + 1))
        fi
        return
        ;;
      --socket | --runtime-dir)
        # Quoted as they were typed: a leading ~ is the shell's to expand, and stays as it is.
        ((i + 1 < cword)) && globals+=("${words[i]}" "${words[i + 1]}")
        ((i++))
        ;;
      -o | --output | --color | --domain | --sort | -d | --delay | --filter | --width | --samples | \
        -n | --tokens | --wait | --class | --rules | --seconds | --threads | --api | --api-ca | --token-file | \
        --namespace | --once | --total | --type | --period | --timezone | --valid-until | --rate | \
        --burst | --agent | --chunk | --limit | --after | --action | --from | --to | --page | \
        --page-size | --before | --for | --drill) ((i++)) ;;
      -*) ;;
      *)
        if [[ -z $command || $command == rules ]]; then
          command=${words[i]}
        else
          ((positionals++))
        fi
        ;;
    esac
  done

  case $prev in
    --socket | --runtime-dir | --rules | --token-file) _weir_files; return ;;
    -o | --output) _weir_words 'table json'; return ;;
    --color) _weir_words 'auto always never'; return ;;
    --sort) _weir_words 'name admitted refused level waiting'; return ;;
    --type) _weir_words 'count time hybrid'; return ;;
    --period) _weir_words 'none day week month'; return ;;
    --class) _weir_words 'critical_plus critical sheddable_plus sheddable'; return ;;
    --domain | -d | --delay | --filter | --width | --samples | -n | --tokens | --wait | \
      --seconds | --threads | --for | --drill) return ;;
  esac

  if [[ $cur == -* ]]; then
    _weir_command_options
    return
  fi
  case $command in
    '') _weir_words 'status list show top clients take rules cluster quota audit breaker degrade load doctor bench version completion' ;;
    rules) _weir_words 'check apply diff' ;;
    quota) ((positionals == 0)) && _weir_words 'list show held create configure top-up reset suspend \
      resume delete write-back' ;;
    check | apply | diff) ((positionals == 0)) && _weir_files ;;
    show)
      if ((positionals == 0)); then
        _weir_limits --resources
        _weir_limits
      fi
      ;;
    breaker)
      case $positionals in
        0) _weir_limits --resources ;;
        1) _weir_words 'open close auto' ;;
      esac
      ;;
    degrade) ((positionals == 1)) && _weir_words 'auto 0 1 2 3 4 5 6 7 8' ;;
    load) ((positionals == 0)) && _weir_limits --resources ;;
    list | take | bench) ((positionals == 0)) && _weir_limits ;;
    completion) ((positionals == 0)) && _weir_words 'bash zsh' ;;
  esac
  declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
  return 0
}

complete -F _weir weir
