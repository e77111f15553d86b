package failedstore

// Writer is a file that is written.
type Writer = writer

// OpenWith is Open with another way to make files.
func OpenWith(dir string, limits Limits, create func(path string) (Writer, error)) (*Store, error) {
	return open(dir, limits, create)
}

// CreateFile is how Open makes them.
func CreateFile(path string) (Writer, error) { return createFile(path) }
