// Put on record who counts. A worker does so once: to read that file costs more than all the rest of a handshake.
function register(pid) {
    const workers = ngx.shared.wsroute_workers;
    if (workers.get(pid) === undefined) {
        // One that is gone already must not look as it did when it was put on record.
        workers.set(pid, startOf(pid) || 'gone');
    }
}
