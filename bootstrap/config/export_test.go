package config

// KnownKeys are the names of all keys of this version.
func KnownKeys() []string {
	var names []string
	for _, k := range knownKeys() {
		names = append(names, k.name)
	}
	return names
}

// Default is the default of a key.
func Default(name string) string {
	for _, k := range knownKeys() {
		if k.name == name {
			return k.value
		}
	}
	return ""
}
