package profiler

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxWeaveFile is far above any real weave file; it keeps a mistaken name from filling the memory.
const maxWeaveFile = 1 << 20

const wantedWeave = `want <aspectj><aspects><aspect name="ServiceAspect"/></aspects></aspectj>`

// ParseWeave reads a weave file in AspectJ's XML form (aop.xml). name is the file's, for messages:
//
//	<aspectj>
//	  <aspects>
//	    <aspect name="com.adaptris.profiler.aspects.AdapterAspect"/>
//	    <aspect name="ServiceAspect"/>
//	  </aspects>
//	  <weaver options="-verbose">
//	    <include within="com.adaptris..*"/>
//	    <include within="stamp-*"/>
//	    <exclude within="log"/>
//	  </weaver>
//	</aspectj>
//
// Aspects are known by the last part of their names. include and exclude match ids and types of components;
// patterns for Java packages narrow nothing. The weaver's options are read by AspectJ only.
// The warnings name what has no meaning here. Document types are skipped; nothing is ever loaded.
func ParseWeave(name string, r io.Reader) (weave Weave, warnings []string, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxWeaveFile+1))
	if err != nil {
		return Weave{}, nil, fmt.Errorf("%s: cannot be read: %w", name, err)
	}
	if len(data) > maxWeaveFile {
		return Weave{}, nil, fmt.Errorf("%s: is larger than 1 MiB; %s", name, wantedWeave)
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	p := aopParser{name: name, decoder: xml.NewDecoder(bytes.NewReader(data))}
	p.decoder.CharsetReader = asciiOnly
	if err := p.parse(); err != nil {
		return Weave{}, nil, err
	}
	return p.weave, p.warnings, nil
}

// asciiOnly is asked for documents that declare an encoding other than UTF-8. Those with nothing beyond ASCII
// read the same in all of the usual ones.
func asciiOnly(charset string, input io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252":
	default:
		return nil, fmt.Errorf("the encoding %s is not supported; save the file as UTF-8", charset)
	}
	data, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(data, func(b byte) bool { return b >= utf8.RuneSelf }) {
		return nil, fmt.Errorf("there are characters beyond ASCII in %s; save the file as UTF-8", charset)
	}
	return bytes.NewReader(data), nil
}

type aopParser struct {
	name     string
	decoder  *xml.Decoder
	weave    Weave
	warnings []string
	// open are the elements around the next token.
	open []string
	// seen: there was a root element.
	seen bool
	// line is where the current token begins.
	line int
}

func (p *aopParser) parse() error {
	for {
		p.line, _ = p.decoder.InputPos()
		token, err := p.decoder.Token()
		switch {
		case errors.Is(err, io.EOF):
			return p.finish()
		case err != nil:
			return p.syntax(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if err := p.start(token); err != nil {
				return err
			}
		case xml.EndElement:
			p.open = p.open[:len(p.open)-1]
		case xml.CharData:
			if text := bytes.TrimSpace(token); len(text) > 0 {
				return p.fault("there is text between the elements; %s", wantedWeave)
			}
		}
	}
}

// start handles an element by where it stands.
func (p *aopParser) start(e xml.StartElement) error {
	p.open = append(p.open, e.Name.Local)
	switch at := strings.Join(p.open, "/"); at {
	case "aspectj":
		if p.seen {
			return p.fault("there is a second <aspectj>; want one")
		}
		p.seen = true
	case "aspectj/aspects", "aspectj/weaver":
	case "aspectj/aspects/aspect":
		return p.aspect(e)
	case "aspectj/weaver/include", "aspectj/weaver/exclude":
		return p.narrow(e)
	default:
		if len(p.open) == 1 {
			return p.fault("the document is <%s>; %s", e.Name.Local, wantedWeave)
		}
		p.warn("<%s> has no meaning here", strings.Join(p.open, "><"))
		if err := p.decoder.Skip(); err != nil {
			return p.syntax(err)
		}
		p.open = p.open[:len(p.open)-1]
	}
	return nil
}

func (p *aopParser) aspect(e xml.StartElement) error {
	name := strings.TrimSpace(attribute(e, "name"))
	if name == "" {
		return p.fault("an aspect without a name; want one of %s", aspectNames())
	}
	kind, known := aspectKind(name)
	if !known {
		p.warn("the aspect %q is not known; the known ones are %s", name, aspectNames())
		return nil
	}
	if !p.weave.HasKind(kind) {
		p.weave.kinds = append(p.weave.kinds, kind)
	}
	return nil
}

func (p *aopParser) narrow(e xml.StartElement) error {
	pattern := attribute(e, "within")
	if err := checkPattern(pattern); err != nil {
		return p.fault("<%s within=...>: %w", e.Name.Local, err)
	}
	list := &p.weave.included
	if e.Name.Local == "exclude" {
		list = &p.weave.excluded
	}
	if isJavaPattern(pattern) {
		if e.Name.Local == "exclude" {
			return nil
		}
		pattern = "*"
	}
	*list = append(*list, pattern)
	return nil
}

func (p *aopParser) finish() error {
	if !p.seen {
		return p.fault("the file is empty; %s", wantedWeave)
	}
	if len(p.weave.kinds) == 0 {
		p.warnings = append(p.warnings, p.name+": no aspect is woven; the known ones are "+aspectNames())
	}
	return nil
}

func (p *aopParser) fault(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", p.name, p.line, fmt.Errorf(format, args...))
}

func (p *aopParser) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf("%s:%d: %s", p.name, p.line, fmt.Sprintf(format, args...)))
}

func (p *aopParser) syntax(err error) error {
	if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
		return fmt.Errorf("%s:%d: not XML: %s; %s", p.name, syntax.Line, syntax.Msg, wantedWeave)
	}
	return p.fault("not XML: %w", err)
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
