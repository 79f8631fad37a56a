export default {decide, judge, undo, release, repairCounts, certificate, admin};
