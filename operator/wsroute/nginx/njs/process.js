// When a process started, in the kernel's ticks; nothing when it is gone.
function startOf(pid) {
    try {
        const stat = fs.readFileSync('/proc/' + pid + '/stat', 'utf8');
        // Behind the name in parentheses: the state first, the start as the twentieth (proc_pid_stat(5)).
        const fields = stat.substring(stat.lastIndexOf(')') + 2).split(' ');
        return fields[0] === 'Z' ? '' : fields[19];
    } catch (_) {
        return '';
    }
}
