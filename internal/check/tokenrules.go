package check

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
)

var tokenRules = []*Rule{
	{
		ID: "WT316", Name: "tokens-beyond-embedding", Severity: checkpoint.Error, run: runTokens,
		Title: "a token's number is beyond the rows of the embedding",
		Doc: `A tokenizer that gives numbers the embedding has no row for makes the model fail, or
read what lies behind it in memory. tokenizer.json (of up to 16 MB), added_tokens.json
and tokenizer_config.json are read.`,
		Bad: "token 32001, embedding [32000,4096]", Good: "embedding [32002,4096]",
	},
	{
		ID: "WT317", Name: "special-token-beyond-vocabulary", Severity: checkpoint.Error, run: runSpecialTokens,
		Title: "a special token of config.json or generation_config.json is beyond the vocabulary",
		Doc: `bos_token_id, eos_token_id and pad_token_id have to be rows of the embedding. Negative
numbers stand for none. Of several vocabularies (text_vocab_size) the largest counts, and
models that are not language models are left alone: their token ids are defaults of a class.`,
		Bad: "eos_token_id 32000, vocab_size 32000", Good: "eos_token_id 2",
	},
}

func runTokens(p *Pass) {
	for _, m := range p.models {
		if m.Format == checkpoint.GGUF || m.names().conv == nil {
			continue
		}
		rows, _, i, ok := m.embedding()
		if !ok {
			continue
		}
		check := func(doc *checkpoint.Config, v checkpoint.ConfigValue, token string, id int64) {
			if id < 0 || uint64(id) < rows {
				return
			}
			p.report(at(m.Path, doc, v, "token %.60q has the number %d, and %s has %s", token, id, m.At(i).Name, plural.Of(rows, "row")))
		}
		if doc := p.document(m.Dir, "tokenizer.json"); doc != nil {
			// Of tokens in a row beyond the end the first is enough.
			vocab, _ := doc.Find("model", "vocab")
			var worst checkpoint.ConfigValue
			token, most := "", int64(-1)
			for name, v := range vocab.Members() {
				if id, ok := v.Int(); ok && id > most {
					token, most, worst = name, id, v
				}
			}
			check(doc, worst, token, most)
			added, _ := doc.Find("added_tokens")
			for _, a := range added.Elements() {
				v, _ := a.Find("id")
				content, _ := a.Find("content")
				text, _ := content.Text()
				if id, ok := v.Int(); ok {
					check(doc, v, text, id)
				}
			}
		}
		if doc := p.document(m.Dir, "added_tokens.json"); doc != nil {
			if root, ok := doc.Find(); ok {
				for token, v := range root.Members() {
					if id, ok := v.Int(); ok {
						check(doc, v, token, id)
					}
				}
			}
		}
		if doc := p.document(m.Dir, "tokenizer_config.json"); doc != nil {
			decoder, _ := doc.Find("added_tokens_decoder")
			for key, v := range decoder.Members() {
				content, _ := v.Find("content")
				text, _ := content.Text()
				if id, ok := smallNumber(key); ok {
					check(doc, v, text, int64(id))
				}
			}
		}
	}
}

func runSpecialTokens(p *Pass) {
	for m, n := range p.configured {
		if !n.conv.Language {
			continue // what reads an image or scores text makes no tokens
		}
		size, _, _, ok := number(m.doc, vocabularyKeys...)
		if rows, _, _, known := m.embedding(); known && rows < 1<<62 {
			size, ok = int64(rows), true
		}
		// Of several vocabularies the greatest: text_vocab_size beside the one of sound (CSM).
		for key, v := range m.settings {
			if n, isInt := v.Int(); isInt && strings.HasSuffix(key, "_vocab_size") && !slices.Contains(vocabularyKeys, key) {
				size = max(size, n)
			}
		}
		if !ok {
			continue
		}
		for _, doc := range []*checkpoint.Config{m.doc, p.document(m.Dir, "generation_config.json")} {
			for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"} {
				v, found := doc.Find(key)
				if !found {
					continue
				}
				check := func(v checkpoint.ConfigValue) {
					if id, ok := v.Int(); ok && id >= size {
						p.report(at(m.Path, doc, v, "%s is %d, and the vocabulary has %s", key, id, plural.Of(size, "token")))
					}
				}
				check(v)
				for _, e := range v.Elements() {
					check(e)
				}
			}
		}
	}
}

// hasMembers reports whether a document has a member that is an object and not
// empty.
func hasMembers(doc *checkpoint.Config, key string) bool {
	v, _ := doc.Find(key)
	for range v.Members() {
		return true
	}
	return false
}

// smallNumber reads a number of at most six digits.
func smallNumber(s string) (int, bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
