package vfs

// resolver is an FS whose names may be links to others.
type resolver interface {
	resolve(name string) (string, error)
}

// Resolve returns the name of the file that name leads to, so that files found
// by its name plus a suffix are the same ones through every symbolic link, and
// whatever the working directory is later. An absolute name that is no link, and
// any in a file system without links, is returned as it is; a link to a file that
// does not exist yet gives that file's name.
func Resolve(fs FS, name string) (string, error) {
	if r, ok := fs.(resolver); ok {
		return r.resolve(name)
	}
	return name, nil
}
