# Completion of strata for bash. strata itself knows what may come next.
_strata() {
  local words=("${COMP_WORDS[@]:1:COMP_CWORD}") current=$2 candidate
  # Readline breaks words at ':' and '='; image names are to stay whole.
  if declare -F _get_comp_words_by_ref > /dev/null; then
    local cword
    _get_comp_words_by_ref -n := -c current -w words -i cword
    words=("${words[@]:1:cword}")
  fi
  COMPREPLY=()
  while IFS= read -r candidate; do
    case $candidate in
      :files) compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
      :directories) compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
      *) COMPREPLY+=("$candidate") ;;
    esac
  done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2> /dev/null)
  if declare -F __ltrim_colon_completions > /dev/null; then __ltrim_colon_completions "$current"; fi
}
complete -F _strata strata
