package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/understudy-ha/understudy/bootstrap/components/durable"
)

// appendTo writes to the end of a file. What could not be written whole is taken back, as long as this process lives.
// An old master is kept out by a look at its staging folder just before; one that falls asleep between the look and the
// write is not.
func (p *Producer) appendTo(ctx context.Context, w write, staging string) error {
	p.appending.Lock()
	defer p.appending.Unlock()
	if _, err := os.Lstat(staging); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	path := filepath.Join(p.config.Directory, filepath.FromSlash(w.name))
	if err := p.makeFolders(path); err != nil {
		return err
	}
	file, isNew, err := p.openAppend(path)
	if err != nil {
		return err
	}
	err = p.appendContent(file, append(w.content[:len(w.content):len(w.content)], p.config.Separator...))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	p.note(w, path)
	if isNew {
		return p.syncFolder(path)
	}
	return nil
}

func (p *Producer) openAppend(path string) (file *os.File, isNew bool, err error) {
	const flags = os.O_WRONLY | os.O_APPEND
	file, err = os.OpenFile(path, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, false, err
	}
	if file, err = os.OpenFile(path, flags|os.O_CREATE, 0o666); err != nil {
		return nil, false, fmt.Errorf("make file: %w", withoutNotExist(err))
	}
	if p.config.Permissions != 0 {
		if err := file.Chmod(p.config.Permissions); err != nil {
			return nil, false, errors.Join(err, file.Close())
		}
	}
	return file, true, nil
}

// withoutNotExist keeps a missing folder from being taken for a missing staging folder.
func withoutNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New(err.Error())
	}
	return err
}

// appendContent writes in a single call, so that lines of several processes do not mix.
func (p *Producer) appendContent(file *os.File, content []byte) error {
	before, err := file.Stat()
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil && p.config.Sync {
		err = file.Sync()
	}
	if err != nil {
		return errors.Join(err, file.Truncate(before.Size()))
	}
	return nil
}

// makeFolders makes the folders that are in a name.
func (p *Producer) makeFolders(path string) error {
	dir := filepath.Dir(path)
	if !p.config.Subfolders || dir == p.config.Directory {
		return nil
	}
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := p.makeFolder(dir); err != nil {
		return fmt.Errorf("make sub-folder: %w", withoutNotExist(err))
	}
	return nil
}

// makeFolder makes dir and those above it, up to the producer's own, each with its permissions and made durable.
func (p *Producer) makeFolder(dir string) error {
	if dir == p.config.Directory {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := p.makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		if info, failed := os.Stat(dir); errors.Is(err, fs.ErrExist) && failed == nil && info.IsDir() {
			return nil
		}
		return err
	}
	if p.config.FolderPermissions != 0 {
		if err := os.Chmod(dir, p.config.FolderPermissions); err != nil {
			return err
		}
	}
	if p.config.Sync {
		return durable.SyncFolder(parent)
	}
	return nil
}
