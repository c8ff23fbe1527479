package pgcluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// FindProgram returns the path of one of our programs: beside the one that runs, in $PGPOOL_INSTALL_DIR/bin, or in PATH.
func FindProgram(name string) (string, error) {
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), name))
	}
	if dir := os.Getenv("PGPOOL_INSTALL_DIR"); dir != "" {
		places = append(places, filepath.Join(dir, "bin", name))
	}
	for _, path := range places {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("no program %s beside this one, in $PGPOOL_INSTALL_DIR/bin or in PATH: %w", name, err)
	}
	return filepath.Abs(path)
}
