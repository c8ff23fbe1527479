package logging

import (
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	var l Limiter
	now := time.Unix(1000, 0)
	allowed := 0
	for range 100 {
		if ok, _ := l.allow(now); ok {
			allowed++
		}
	}
	if allowed != LimiterBurst {
		t.Errorf("%d lines", allowed)
	}
	if ok, skipped := l.allow(now.Add(10 * time.Second)); !ok || skipped != 100-LimiterBurst {
		t.Errorf("%v, %d skipped", ok, skipped)
	}
	if ok, _ := l.allow(now.Add(10 * time.Second)); ok {
		t.Error("a second line at once")
	}
	l = Limiter{Interval: time.Minute}
	for range LimiterBurst {
		l.allow(now)
	}
	if ok, _ := l.allow(now.Add(59 * time.Second)); ok {
		t.Error("a line before its time")
	}
}
