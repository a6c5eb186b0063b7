package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is one fenced block of the README.
type block struct {
	language, text string
	line           int
}

func readme(t *testing.T) (text string, blocks []block) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	for i, line := range strings.Split(string(b), "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{language: strings.TrimSpace(language), line: i + 1}
		case fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("the block of line %d is not closed", open.line)
	}
	return string(b), blocks
}

// Each Go program in the README compiles and runs as a stranger's would, in a module of its own; the second run says what the first did.
// A block without a package clause is a piece of a program: it must stand, line for line, in a file that is compiled here.
func TestReadmeGo(t *testing.T) {
	_, blocks := readme(t)
	seen := 0
	for _, b := range blocks {
		if b.language != "go" {
			continue
		}
		seen++
		if strings.HasPrefix(b.text, "package ") || strings.Contains(b.text, "\npackage ") {
			works(t, b)
		} else if !standsSomewhere(t, b.text) {
			t.Errorf("README.md:%d: the lines of this block stand in no Go file of the repository", b.line)
		}
	}
	if seen == 0 {
		t.Error("README.md shows no Go")
	}
}

// works vets a program and runs it twice; the second run says what the first did.
func works(t *testing.T, b block) {
	t.Helper()
	dir := stranger(t, b.text)
	if _, err := goTool(dir, "vet", "-mod=mod", "."); err != nil {
		t.Fatalf("README.md:%d: the program does not compile (or needs a module that go.mod does not have): %v", b.line, err)
	}
	first, err := goTool(dir, "run", "-mod=mod", ".")
	if err != nil {
		t.Fatalf("README.md:%d: %v", b.line, err)
	}
	again, err := goTool(dir, "run", "-mod=mod", ".")
	if err != nil || len(first) == 0 || string(again) != string(first) {
		t.Errorf("README.md:%d: the program printed %q, then %q (%v)", b.line, first, again, err)
	}
}

// stranger puts a program into a module of its own that requires what this one requires, in the versions it has: nothing is fetched that
// a build of this module has not fetched.
func stranger(t *testing.T, program string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Replace(string(gomod), "module "+module, "module readme.example", 1) +
		"\nrequire " + module + " v0.0.0\n\nreplace " + module + " => " + here + "\n"
	for name, text := range map[string]string{"go.mod": own, "go.sum": string(sums), "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The host programs that the API was drafted with compile against it; the first one runs.
func TestDraftedHostsCompile(t *testing.T) {
	hosts := filepath.Join(root, "..", "shared", "spec", "api", "hosts")
	for name, prints := range map[string]string{"cloudiway": "only 20\n15 in Office move\n15 would come back\n95 true\n", "hosttx": ""} {
		text, err := os.ReadFile(filepath.Join(hosts, name+".go.txt"))
		if err != nil {
			t.Skipf("the drafted host programs are not here: %v", err)
		}
		dir := stranger(t, string(text))
		if _, err := goTool(dir, "vet", "-mod=mod", "."); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if prints == "" {
			continue
		}
		if out, err := goTool(dir, "run", "-mod=mod", "."); err != nil || string(out) != prints {
			t.Errorf("%s printed %q (%v), want %q", name, out, err, prints)
		}
	}
}

// The program of accounts and their members compiles as far as its room is built, with a certification as this API has it.
func TestDraftedHostPlanfixCompiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "..", "shared", "spec", "api", "hosts", "planfix.go.txt"))
	if err != nil {
		t.Skipf("the drafted host programs are not here: %v", err)
	}
	program, later, found := strings.Cut(string(text), "\n\tcat := solution.New(")
	_, main, ends := strings.Cut(later, "\nfunc main()")
	if !found || !ends {
		t.Fatal("the draft has no part about solutions")
	}
	program += "\n\treturn nil\n}\n\nfunc main()" + main
	for _, change := range [][2]string{
		{"\t\"github.com/partnerkit/partnerkit/review\"\n", ""}, {"\t\"github.com/partnerkit/partnerkit/solution\"\n", ""}, {"src solution.EntitySource, ", ""},
		{"(context.Background(), nil, nil, ", "(context.Background(), nil, "},
		{"partner.Period{From: time.Now()})", "partner.Certification{Programme: \"builder\", Reason: \"exam\", Period: partner.Period{From: time.Now()}})"},
		{"if err := reg.Program.Certify(", "if _, err := reg.Program.Certify("},
	} {
		if !strings.Contains(program, change[0]) {
			t.Fatalf("the draft has no %q", change[0])
		}
		program = strings.Replace(program, change[0], change[1], 1)
	}
	if out, err := goTool(stranger(t, program), "vet", "-mod=mod", "."); err != nil {
		t.Errorf("planfix: %v: %s", err, out)
	}
}

func standsSomewhere(t *testing.T, text string) bool {
	t.Helper()
	want := squeezed(text)
	return slices.ContainsFunc(goFiles(t), func(file string) bool {
		b, err := os.ReadFile(filepath.Join(root, file))
		return err == nil && strings.Contains(squeezed(string(b)), want)
	})
}

// squeezed is the text without indentation and empty lines.
func squeezed(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			kept = append(kept, line)
		}
	}
	return "\n" + strings.Join(kept, "\n") + "\n"
}

// Each command in the README can be given: the program is there, or is one that every Go developer has, and so are the folders and the
// make targets it names.
func TestReadmeCommands(t *testing.T) {
	_, blocks := readme(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, b := range blocks {
		if !slices.Contains([]string{"", "sh", "bash", "console", "shell"}, b.language) {
			continue
		}
		for _, line := range strings.Split(b.text, "\n") {
			line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "$ "), " #")
			words := strings.Fields(line)
			for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
				words = words[1:] // a variable for the command
			}
			if len(words) == 0 {
				continue
			}
			seen++
			command(t, b.line, words, string(makefile))
		}
	}
	if seen == 0 {
		t.Error("README.md shows no command")
	}
}

func command(t *testing.T, line int, words []string, makefile string) {
	t.Helper()
	_, err := exec.LookPath(words[0])
	if known := slices.Contains([]string{"go", "make", "bash", "git"}, words[0]); err != nil && !known {
		t.Errorf("README.md:%d: there is no command %s", line, words[0])
	}
	for _, w := range words[1:] {
		if words[0] == "make" && !strings.Contains("\n"+makefile, "\n"+w+":") {
			t.Errorf("README.md:%d: the Makefile has no target %s", line, w)
		}
		if path, local := strings.CutPrefix(w, "./"); local {
			if _, err := os.Stat(filepath.Join(root, strings.TrimSuffix(path, "..."))); err != nil {
				t.Errorf("README.md:%d: %s is not there", line, w)
			}
		}
	}
}

// What the README links to inside the repository is there.
func TestReadmeLinks(t *testing.T) {
	text, _ := readme(t)
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(text, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, link[1])); err != nil {
			t.Errorf("README.md links to %s, which is not there", link[1])
		}
	}
}
