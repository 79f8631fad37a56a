export default {decide, undo, release, repairCounts, certificate, admin};
