package failover

// IsRefused is for tests.
var IsRefused = isRefused

// ChooseFrom is ChooseNIC on a machine with these interfaces.
func ChooseFrom(all []NIC, spec string, only4 bool) (NIC, error) { return chooseFrom(all, spec, only4) }
