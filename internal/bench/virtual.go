package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// virtualResult is what following a session's state costs while there is none: the share of the proxy's processor time,
// kernel included, that is spent in the code that does it and in what that calls. Throughput is the other view of it
// (ampleRows), which moves by more than the share from run to run.
type virtualResult struct {
	Rows []virtualShare `json:"rows"`
}

type virtualShare struct {
	Row     string `json:"row"`
	Samples int    `json:"samples"`
	Inside  int    `json:"samples_inside"`
}

func (v virtualShare) percent() float64 {
	if v.Samples == 0 {
		return 0
	}
	return 100 * float64(v.Inside) / float64(v.Samples)
}

// worst is the largest share, in percent.
func (v virtualResult) worst() float64 {
	var most float64
	for _, one := range v.Rows {
		most = max(most, one.percent())
	}
	return most
}

// virtualCode tells the functions that belong to the virtual session: everything of its package, and what in the proxy records what a
// statement has changed, finds what keeps a session on its connection, and brings a connection up to the session's state.
func virtualCode(function string) bool {
	if strings.HasPrefix(function, "gopgpool/proxy/vsession.") {
		return true
	}
	name, ok := strings.CutPrefix(function, "gopgpool/proxy.(*session).")
	return ok && slices.Contains(virtualMethods(), name)
}

// virtualMethods are those of a session; with them counts what they call.
func virtualMethods() []string {
	return []string{
		"noteFor", "concluded", "succeeded", "apply", "endBatch",
		"pinsBy", "taints", "sendsPin", "refuseShared", "refusePin", "ownSequences", "configured", "askPins", "absorb",
		"bringUp", "follow",
	}
}

// errNoPerf says that nothing can be recorded.
var errNoPerf = errors.New("perf is not installed (Debian: apt-get install linux-perf)")

// measureVirtual records the proxy in transaction mode during the rows of the topology ample.
func (r *runner) measureVirtual(ctx context.Context) (virtualResult, error) {
	perf, err := exec.LookPath("perf")
	if err != nil {
		return virtualResult{}, errNoPerf
	}
	code, err := codeOf(r.opts.programs.gopgpool, virtualCode)
	if err != nil {
		return virtualResult{}, err
	}
	s, err := r.startProfiled(ctx, ample)
	if err != nil {
		return virtualResult{}, err
	}
	defer s.close()
	r.warm(ctx, s, ample)
	var result virtualResult
	for _, w := range ampleRows() {
		file := filepath.Join(r.dir, "virtual.data")
		if _, err := r.recordRow(ctx, perf, s, w, file); err != nil {
			return result, err
		}
		share, err := readShare(ctx, perf, file, r.opts.programs.gopgpool, code)
		if err != nil {
			return result, err
		}
		share.Row = w.id()
		fmt.Printf("%s: %.1f %% of the proxy's time follows the state (%d of %d samples)\n",
			share.Row, share.percent(), share.Inside, share.Samples)
		result.Rows = append(result.Rows, share)
	}
	return result, nil
}

// readShare counts the samples of a recording that have a frame in code of a program.
func readShare(ctx context.Context, perf, file, program string, code []span) (virtualShare, error) {
	var problems strings.Builder
	cmd := exec.CommandContext(ctx, perf, "script", "-i", file, "-F", "ip,dso")
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return virtualShare{}, fmt.Errorf("perf script: %w: %s", err, firstLines(problems.String(), 3))
	}
	return countSamples(bytes.NewReader(out), program, code)
}

// countSamples reads stacks: an address in each line, and in brackets the file of which it is an offset or [kernel]; empty lines after
// each stack.
func countSamples(in io.Reader, program string, code []span) (virtualShare, error) {
	var count virtualShare
	frames, inside := 0, false
	finish := func() {
		if frames > 0 {
			count.Samples++
		}
		if inside {
			count.Inside++
		}
		frames, inside = 0, false
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			finish()
			continue
		}
		number, where, _ := strings.Cut(text, " ")
		address, err := strconv.ParseUint(number, 16, 64)
		if err != nil {
			return count, fmt.Errorf("line %q of perf script: %w", text, err)
		}
		frames++
		inside = inside || where == "("+program+")" && contains(code, address)
	}
	finish()
	return count, lines.Err()
}

// span is a piece of machine code by its place in the program's file, its end excluded.
type span struct{ from, to uint64 }

// contains looks an address up in sorted spans. Spans may overlap.
func contains(code []span, address uint64) bool {
	i, _ := slices.BinarySearchFunc(code, address, func(s span, a uint64) int {
		if s.from <= a {
			return -1
		}
		return 1
	})
	return i > 0 && address < code[i-1].to
}

// codeOf is where those functions of a program are, where they were inlined too; sorted, without overlaps.
func codeOf(program string, wanted func(string) bool) ([]span, error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.DWARF()
	if err != nil {
		return nil, fmt.Errorf("%s: debugging information: %w", program, err)
	}
	named, err := namedFunctions(info, wanted)
	if err != nil {
		return nil, fmt.Errorf("%s: debugging information: %w", program, err)
	}
	code, err := spansOf(info, named)
	if err != nil {
		return nil, fmt.Errorf("%s: debugging information: %w", program, err)
	}
	if len(code) == 0 {
		return nil, fmt.Errorf("%s has none of the functions", program)
	}
	return joined(inFile(code, file.Progs)), nil
}

// inFile turns addresses into places in the file, which is how perf tells them.
func inFile(code []span, segments []*elf.Prog) []span {
	var all []span
	for _, s := range code {
		for _, p := range segments {
			if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && s.from >= p.Vaddr && s.to <= p.Vaddr+p.Filesz {
				all = append(all, span{s.from - p.Vaddr + p.Off, s.to - p.Vaddr + p.Off})
			}
		}
	}
	return all
}

// walk visits every entry.
func walk(info *dwarf.Data, visit func(*dwarf.Entry) error) error {
	for r := info.Reader(); ; {
		entry, err := r.Next()
		if err != nil || entry == nil {
			return err
		}
		if err := visit(entry); err != nil {
			return err
		}
	}
}

// namedFunctions are the entries of functions by their offset; copies of a function point to it.
func namedFunctions(info *dwarf.Data, wanted func(string) bool) (map[dwarf.Offset]bool, error) {
	named := map[dwarf.Offset]bool{}
	err := walk(info, func(e *dwarf.Entry) error {
		if name, ok := e.Val(dwarf.AttrName).(string); ok && e.Tag == dwarf.TagSubprogram && wanted(name) {
			named[e.Offset] = true
		}
		return nil
	})
	return named, err
}

func spansOf(info *dwarf.Data, named map[dwarf.Offset]bool) ([]span, error) {
	var code []span
	err := walk(info, func(e *dwarf.Entry) error {
		if e.Tag != dwarf.TagSubprogram && e.Tag != dwarf.TagInlinedSubroutine {
			return nil
		}
		origin, _ := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !named[e.Offset] && !named[origin] {
			return nil
		}
		ranges, err := info.Ranges(e)
		for _, r := range ranges {
			code = append(code, span{r[0], r[1]})
		}
		return err
	})
	return code, err
}

// joined sorts spans and makes one of those that touch.
func joined(code []span) []span {
	slices.SortFunc(code, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var all []span
	for _, s := range code {
		if last := len(all) - 1; last >= 0 && s.from <= all[last].to {
			all[last].to = max(all[last].to, s.to)
			continue
		}
		all = append(all, s)
	}
	return all
}
