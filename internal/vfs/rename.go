package vfs

// renamable is a File that carries its name in errors.
type renamable interface {
	renamed(name string)
}

// Rename renames an open file as fs does and tells the handle, so that its
// errors name the file as it is called from now on. Nothing else may use the
// handle meanwhile.
func Rename(fs FS, file File, oldname, newname string) error {
	if err := fs.Rename(oldname, newname); err != nil {
		return err
	}
	if r, ok := file.(renamable); ok {
		r.renamed(newname)
	}
	return nil
}
