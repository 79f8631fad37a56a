export default {
    decide, undo, release, repairCounts,
    ready: (r) => admin().ready(r),
    describe: (r) => admin().describe(r),
    change: (r) => admin().change(r),
    entries: (r) => admin().entries(r),
    flip: (r) => admin().flip(r),
    clear: (r) => admin().clear(r),
    keys: (r) => admin().keys(r),
    values: (r) => admin().values(r),
    sockets: (r) => admin().sockets(r),
    open: (r) => admin().open(r),
    counts: (r) => admin().counts(r),
};
