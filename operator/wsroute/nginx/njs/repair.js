// What workers held that were killed.

// Take back what workers held that are gone. Whoever deletes a worker's entry is the one to do it.
function repair() {
    const workers = ngx.shared.wsroute_workers;
    const pids = workers.keys(MANY);
    for (let i = 0; i < pids.length; i++) {
        const pid = pids[i];
        if (startOf(pid) !== workers.get(pid) && workers.delete(pid)) {
            subtract('p' + pid + ' ');
            forgetWorker(pid);
        }
    }
}

function subtract(prefix) {
    const counts = ngx.shared.wsroute_sockets;
    const keys = counts.keys(MANY);
    for (let i = 0; i < keys.length; i++) {
        if (keys[i].startsWith(prefix)) {
            addTo(counts, 't' + keys[i].substring(prefix.length), -(counts.pop(keys[i]) || 0));
        }
    }
}

// What a worker held that was killed.
function forgetWorker(pid) {
    const prefix = pid + ' ';
    forgetKeys(ngx.shared.wsroute_routes, prefix);
    for (let part = 0; part < PARTS; part++) {
        forgetKeys(openPart(part), prefix);
    }
}

function forgetKeys(dictionary, prefix) {
    const keys = dictionary.keys(MANY);
    for (let i = 0; i < keys.length; i++) {
        if (keys[i].startsWith(prefix)) {
            dictionary.delete(keys[i]);
        }
    }
}
