// The words of what the hop is told of the request; nothing in them comes from the client but the name of the host. They
// stay an array: an object of so many names takes as long as the look-up of a path.
const FORM = 0;          // `short` or `whole`
const PID = 1;           // the worker that asks
const CONNECTION = 2;
const CLIENT = 3;
const SCHEME = 4;
const UPGRADE = 5;       // `websocket` or nothing
const HOST = 6;
const LISTENER = 7;
const CONNECT = 8;       // the timeouts that there are
const IDLE = 9;
const NAMES = 10;        // the headers that routes may change

function readAsked(r) {
    return r.headersIn['X-WSRoute-Asked'].split(' ');
}
