# Completion of strata for fish. strata itself knows what may come next.
function __strata_complete
    set -l words (commandline -opc) (commandline -ct)
    for candidate in (strata __complete $words[2..-1] 2>/dev/null)
        switch $candidate
            case :files
                __fish_complete_path (commandline -ct)
            case :directories
                __fish_complete_directories (commandline -ct)
            case '*'
                echo $candidate
        end
    end
end
complete -c strata -f -a '(__strata_complete)'
