// Which certificate a client is shown: nginx asks once for each TLS handshake, with the name in it (SNI).

const NAME = /^[A-Za-z0-9.-]{1,253}$(?!\n)/;

// The name of a file, or nothing where there is no certificate: then the handshake is refused. Of a pair the other file
// is told in a variable; where there is none it is the same one, since nginx takes no empty name.
function nameFiles(r) {
    const variables = r.variables;
    const found = findCertificate(variables.wsroute_shell.split(' ')[0], variables.ssl_server_name);
    if (found === undefined || !FILES.test(found)) {
        return '';
    }
    const files = found.split(' ');
    variables.wsroute_other_certificate = files[files.length - 1];
    return files[0];
}

// The files for a name on a listener: its own, else those of its wildcard, else those for everything.
function findCertificate(listener, asked) {
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    if (generation === '') {
        return undefined;
    }
    const stem = generation + 'c' + listener + ' ';
    // Looked at as it came: there are other signs that become a letter in lower case, the one for Kelvin a k.
    if (asked !== undefined && NAME.test(asked)) {
        const name = asked.toLowerCase();
        const own = table.get(stem + name);
        if (own !== undefined) {
            return own;
        }
        const dot = name.indexOf('.');
        const covered = dot > 0 ? table.get(stem + '*' + name.substring(dot)) : undefined;
        if (covered !== undefined) {
            return covered;
        }
    }
    return table.get(stem + '*');
}
