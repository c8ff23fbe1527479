package logging

import "testing"

func TestLogOrder(t *testing.T) {
	// "log sorts between error and fatal"
	order := []Severity{Debug5, Debug4, Debug3, Debug2, Debug1, Info, Notice, Warning, Error, Log, Fatal, Panic}
	for i, minimum := range order {
		for j, s := range order {
			if got := s.LoggedAt(minimum); got != (j >= i) {
				t.Errorf("%s.LoggedAt(%s) = %v", s.Setting(), minimum.Setting(), got)
			}
		}
	}
	if !FrontendError.LoggedAt(Error) || FrontendError.LoggedAt(Log) {
		t.Error("FRONTEND_ERROR does not rank as ERROR in the log")
	}
}

func TestClientOrder(t *testing.T) {
	order := []Severity{Debug5, Debug4, Debug3, Debug2, Debug1, Log, Info, Notice, Warning, Error, Fatal, Panic}
	for i, minimum := range order {
		for j, s := range order {
			if got := s.SentAt(minimum); got != (j >= i || s == Info) {
				t.Errorf("%s.SentAt(%s) = %v", s.Setting(), minimum.Setting(), got)
			}
		}
	}
	if FrontendError.SentAt(Fatal) || !FrontendError.SentAt(Error) {
		t.Error("FRONTEND_ERROR does not rank as ERROR for the client")
	}
}

func TestParseSeverity(t *testing.T) {
	for name, want := range map[string]Severity{
		"debug5": Debug5, "debug": Debug2, "DEBUG1": Debug1, "Log": Log, "info": Info, "notice": Notice,
		"warning": Warning, "error": Error, "fatal": Fatal, "panic": Panic,
		"": 0, "warn": 0, "debug6": 0, "frontend_error": 0,
	} {
		got, ok := ParseSeverity(name)
		if got != want || ok != (want != 0) {
			t.Errorf("ParseSeverity(%q) = %d, %v", name, got, ok)
		}
		if ok && name != "debug" {
			if again, _ := ParseSeverity(got.Setting()); again != got {
				t.Errorf("%q does not survive Setting", name)
			}
		}
	}
}

// The numbers SHOW pool_status prints.
func TestSeverityNumbers(t *testing.T) {
	for s, want := range map[Severity]int{
		Debug5: 10, Debug1: 14, Log: 15, Info: 17, Notice: 18, Warning: 19, Error: 20, Fatal: 21, Panic: 22,
	} {
		if int(s) != want {
			t.Errorf("%s = %d, want %d", s.Setting(), s, want)
		}
	}
}

func TestSeverityNames(t *testing.T) {
	for s, want := range map[Severity]string{
		Debug5: "DEBUG", Debug1: "DEBUG", Log: "LOG", Info: "INFO", Notice: "NOTICE", Warning: "WARNING", Error: "ERROR",
		Fatal: "FATAL", Panic: "PANIC", FrontendError: "FRONTEND_ERROR",
	} {
		if s.String() != want {
			t.Errorf("%d is %q, want %q", s, s, want)
		}
	}
}
