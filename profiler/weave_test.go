package profiler_test

import (
	"strings"
	"testing"
	"testing/iotest"

	"github.com/understudy-ha/understudy/profiler"
)

// interlokWeave is what an Interlok 3 installation has in META-INF/profiler-aop.xml.
const interlokWeave = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE aspectj PUBLIC "-//AspectJ//DTD//EN" "http://www.eclipse.org/aspectj/dtd/aspectj.dtd">
<aspectj>
  <aspects>
    <aspect name="com.adaptris.profiler.aspects.ServiceAspect"/>
    <aspect name="com.adaptris.profiler.aspects.WorkflowAspect"/>
    <aspect name="com.adaptris.profiler.aspects.ProducerAspect"/>
    <aspect name="com.adaptris.profiler.aspects.AdapterAspect"/>
  </aspects>
  <weaver options="-verbose -showWeaveInfo">
    <include within="com.adaptris..*"/>
    <exclude within="com.adaptris.profiler..*"/>
  </weaver>
</aspectj>`

func kinds() []profiler.Kind {
	return []profiler.Kind{
		profiler.KindAdapter, profiler.KindChannel, profiler.KindWorkflow,
		profiler.KindConsumer, profiler.KindService, profiler.KindProducer,
	}
}

// woven lists the kinds that a component with this id and type could be of.
func woven(w profiler.Weave, id, typ string) string {
	var names []string
	for _, kind := range kinds() {
		if w.Has(kind, id, typ) {
			names = append(names, kind.String())
		}
	}
	return strings.Join(names, " ")
}

func TestParseWeave(t *testing.T) {
	narrowed := func(weaver string) string {
		return `<aspectj><aspects><aspect name="AdapterAspect"/><aspect name="service"/></aspects><weaver>` + weaver + `</weaver></aspectj>`
	}
	const id, typ = "stamp", "mapping"
	tests := []struct {
		name, file, want string
		warnings         []string
	}{
		{"an Interlok file", interlokWeave, "adapter workflow service producer", nil},
		{"short names", `<aspectj><aspects><aspect name="ConsumerAspect"/><aspect name="channel"/></aspects></aspectj>`, "channel consumer", nil},
		{"any package", `<aspectj><aspects><aspect name="org.example.ServiceAspect"/></aspects></aspectj>`, "service", nil},
		{"twice", `<aspectj><aspects><aspect name="ServiceAspect"/><aspect name="service"/></aspects></aspectj>`, "service", nil},
		{"a byte order mark", "\uFEFF<aspectj><aspects><aspect name='service'/></aspects></aspectj>", "service", nil},
		{"latin-1 without umlauts", `<?xml version="1.0" encoding="ISO-8859-1"?><aspectj><aspects><aspect name="service"/></aspects></aspectj>`, "service", nil},
		{"comments", "<!-- a --><aspectj><!-- b --><aspects><aspect name='service'/></aspects></aspectj><!-- c -->\n", "service", nil},

		{"included by id", narrowed(`<include within="stamp"/>`), "adapter service", nil},
		{"included by type", narrowed(`<include within="mapping"/>`), "adapter service", nil},
		{"included by wildcard", narrowed(`<include within="st*p"/>`), "adapter service", nil},
		{"one of two includes", narrowed(`<include within="log"/><include within="st*"/>`), "adapter service", nil},
		{"not included", narrowed(`<include within="log"/>`), "adapter", nil},
		{"only a part of the id", narrowed(`<include within="tam"/>`), "adapter", nil},
		{"excluded", narrowed(`<exclude within="map*"/>`), "adapter", nil},
		{"exclude beats include", narrowed(`<include within="*"/><exclude within="stamp"/>`), "adapter", nil},
		{"the adapter cannot be excluded", narrowed(`<exclude within="*"/>`), "adapter", nil},
		{"a Java package narrows nothing", narrowed(`<include within="com.adaptris.core.*"/>`), "adapter service", nil},
		{"a Java package excludes nothing", narrowed(`<exclude within="com.adaptris..*"/>`), "adapter service", nil},

		{"an unknown aspect", "<aspectj><aspects>\n<aspect name='com.x.MagicAspect'/>\n<aspect name='service'/></aspects></aspectj>", "service", []string{
			`aop.xml:2: the aspect "com.x.MagicAspect" is not known; the known ones are AdapterAspect, ChannelAspect, WorkflowAspect, ConsumerAspect, ServiceAspect, ProducerAspect`,
		}},
		{"no aspect", "<aspectj/>", "", []string{
			`aop.xml: no aspect is woven; the known ones are AdapterAspect, ChannelAspect, WorkflowAspect, ConsumerAspect, ServiceAspect, ProducerAspect`,
		}},
		{"other elements", narrowed("<dump within='*'><x/></dump>"), "adapter service", []string{
			`aop.xml:1: <aspectj><weaver><dump> has no meaning here`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			weave, warnings, err := profiler.ParseWeave("aop.xml", strings.NewReader(test.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := woven(weave, id, typ); got != test.want {
				t.Errorf("woven: %q, want %q", got, test.want)
			}
			if got, want := strings.Join(warnings, "\n"), strings.Join(test.warnings, "\n"); got != want {
				t.Errorf("warnings:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestParseWeaveFaults(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"empty", "", `aop.xml:1: the file is empty; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
		{"not XML", "profiler=on\n", `aop.xml:1: there is text between the elements; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
		{"cut off", "<aspectj>\n<aspects>\n", `aop.xml:3: not XML: unexpected EOF; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
		{"wrong end", "<aspectj>\n</aspects>", `aop.xml:2: not XML: element <aspectj> closed by </aspects>; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
		{"another document", "<adapter/>", `aop.xml:1: the document is <adapter>; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
		{"two documents", "<aspectj/>\n<aspectj/>", `aop.xml:2: there is a second <aspectj>; want one`},
		{"no name", "<aspectj><aspects>\n<aspect class='x'/>", `aop.xml:2: an aspect without a name; want one of AdapterAspect, ChannelAspect, WorkflowAspect, ConsumerAspect, ServiceAspect, ProducerAspect`},
		{"empty pattern", "<aspectj><weaver>\n\n<include/>", `aop.xml:3: <include within=...>: the pattern is empty; want an id or a type, with * for any text`},
		{"odd pattern", "<aspectj><weaver><exclude within='st[a-z]mp'/>", `aop.xml:1: <exclude within=...>: the pattern "st[a-z]mp" has one of [ ] \ ?; want an id or a type, with * for any text`},
		{"an entity from elsewhere", `<!DOCTYPE aspectj [<!ENTITY x SYSTEM "file:///etc/hostname">]>` + "\n<aspectj>&x;</aspectj>", `aop.xml:2: not XML: invalid character entity &x;; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
		{"an unknown encoding", `<?xml version="1.0" encoding="UTF-16"?><aspectj/>`, `aop.xml:1: not XML: xml: opening charset "UTF-16": the encoding UTF-16 is not supported; save the file as UTF-8`},
		{"latin-1 with umlauts", `<?xml version="1.0" encoding="ISO-8859-1"?><!-- ` + "\xfc" + ` --><aspectj/>`, `aop.xml:1: not XML: xml: opening charset "ISO-8859-1": there are characters beyond ASCII in ISO-8859-1; save the file as UTF-8`},
		{"too large", strings.Repeat(" ", 1<<20+1), `aop.xml: is larger than 1 MiB; want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := profiler.ParseWeave("aop.xml", strings.NewReader(test.file))
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != test.want {
				t.Errorf("error:\n%v\nwant:\n%s", err, test.want)
			}
		})
	}
}

func TestParseWeaveUnreadable(t *testing.T) {
	_, _, err := profiler.ParseWeave("aop.xml", iotest.ErrReader(iotest.ErrTimeout))
	if err == nil || err.Error() != "aop.xml: cannot be read: timeout" {
		t.Errorf("error: %v", err)
	}
}

func TestDefaultWeaveHasAll(t *testing.T) {
	const all = "adapter channel workflow consumer service producer"
	if got := woven(profiler.DefaultWeave(), "any", "thing"); got != all {
		t.Errorf("woven: %q, want %q", got, all)
	}
	if got := woven(profiler.Weave{}, "any", "thing"); got != "" {
		t.Errorf("the zero weave has %q", got)
	}
}

func TestPatternsCrossSlashes(t *testing.T) {
	weave, _, err := profiler.ParseWeave("aop.xml", strings.NewReader(
		`<aspectj><aspects><aspect name="service"/></aspects><weaver><include within="a*d"/></weaver></aspectj>`))
	if err != nil {
		t.Fatal(err)
	}
	if !weave.Has(profiler.KindService, "a/b/c/d", "") {
		t.Error("* must stand for any text")
	}
}

// FuzzParseWeave: whatever is in the file, there is an answer, every message names the file, and the adapter's
// joinpoint depends on nothing but its aspect.
func FuzzParseWeave(f *testing.F) {
	f.Add(interlokWeave)
	f.Add(`<aspectj><weaver><include within="*"/><dump><a><b/></a></dump></weaver></aspectj>`)
	f.Add(`<!DOCTYPE x [<!ENTITY a "&a;&a;">]><aspectj>&a;</aspectj>`)
	f.Fuzz(func(t *testing.T, file string) {
		weave, warnings, err := profiler.ParseWeave("aop.xml", strings.NewReader(file))
		if err != nil && !strings.HasPrefix(err.Error(), "aop.xml:") {
			t.Errorf("a message without its file: %v", err)
		}
		for _, w := range warnings {
			if !strings.HasPrefix(w, "aop.xml:") {
				t.Errorf("a warning without its file: %s", w)
			}
		}
		if weave.Has(profiler.KindAdapter, "a", "b") != weave.HasKind(profiler.KindAdapter) {
			t.Error("the adapter has been narrowed away")
		}
	})
}
