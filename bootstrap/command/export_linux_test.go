package command

// FindCgroup looks a group's path up among the mounts.
var FindCgroup = findCgroup
