export default {
    decide, retry, release, repairCounts,
    ready, describe, change, entries, flip, clear, sockets,
};
