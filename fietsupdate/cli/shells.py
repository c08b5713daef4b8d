"""The scripts that complete command lines in a shell; `fietsupdate.cli.complete` answers them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_BASH = """\
_fietsupdate_complete() {
    local IFS=$'\\n'
    COMPREPLY=($(_FIETSUPDATE_COMPLETE=1 "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _fietsupdate_complete fietsupdate
"""

_ZSH = """\
#compdef fietsupdate
_fietsupdate_complete() {
    local -a found
    found=("${(@f)$(_FIETSUPDATE_COMPLETE=1 $words[1] "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _fietsupdate_complete fietsupdate
"""

_FISH = """\
function _fietsupdate_complete
    set --local words (commandline --tokenize --cut-at-cursor --current-process)
    set --local last (commandline --current-token --cut-at-cursor)
    env _FIETSUPDATE_COMPLETE=1 $words "$last" 2>/dev/null
end
complete --command fietsupdate --arguments '(_fietsupdate_complete)'
"""

SCRIPTS: Mapping[str, str] = MappingProxyType({"bash": _BASH, "zsh": _ZSH, "fish": _FISH})
"""By the name of the shell."""
