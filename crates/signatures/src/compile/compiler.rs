//! State of a compilation, and the parts that all others are made of.

use crate::SourceSpec;
use crate::compile::problems::{Problems, Reported};
use crate::json_pointers::PathSet;
use crate::keys::pinned_url::PinnedUrl;
use crate::language::context::{Params, Wrong};
use crate::language::place::Place;
use crate::language::spec::{PinnedUrlSpec, SchemeSpec};
use crate::language::syntax::{Expected, FieldRef, TemplateText};
use crate::language::template::{Template, Token};
use crate::request::view::Needs;
use crate::scheme::SchemeWarning;
use crate::scheme::SourceKey;

pub(super) struct Compiler<'c> {
    pub(super) source: &'c SourceSpec,
    pub(super) spec: &'c SchemeSpec,
    pub(super) params: Params,
    pub(super) needs: Needs,
    pub(super) problems: Problems,
    pub(super) warnings: Vec<SchemeWarning>,
    pub(super) max_events: usize,
}

impl<'c> Compiler<'c> {
    pub(super) fn new(source: &'c SourceSpec, spec: &'c SchemeSpec, max_events: usize) -> Self {
        let mut params = spec.params.clone();
        params.extend(source.params.clone());
        Self {
            source,
            spec,
            params,
            needs: Needs::default(),
            problems: Problems::default(),
            warnings: Vec::new(),
            max_events,
        }
    }

    pub(super) fn error(&mut self, key: SourceKey, text: impl Into<Wrong>) -> Reported {
        self.problems.report(key, &text.into())
    }

    pub(super) fn ok<T>(
        &mut self,
        key: &SourceKey,
        result: Result<T, impl Into<Wrong>>,
    ) -> Result<T, Reported> {
        result.map_err(|wrong| self.error(key.clone(), wrong))
    }

    pub(super) fn template(
        &mut self,
        key: &SourceKey,
        text: &TemplateText,
        paths: &mut PathSet,
    ) -> Result<Template, Reported> {
        let compiled = Template::compile(text, &self.params, paths);
        let template = self.ok(key, compiled)?;
        for token in template.tokens() {
            let canonical = matches!(token, Token::Canonical(_));
            self.needs.query |= canonical || matches!(token, Token::Query(_));
            self.needs.form |= canonical
                || matches!(
                    token,
                    Token::Form(_) | Token::FormSorted | Token::FormSortedKv { .. }
                );
        }
        Ok(template)
    }

    /// A place in the request, which is then decoded as far as it is needed.
    pub(super) fn place(
        &mut self,
        key: &SourceKey,
        field: &FieldRef,
        paths: &mut PathSet,
    ) -> Result<Place, Reported> {
        let compiled = Place::compile(field, &self.params, paths, &mut self.needs);
        self.ok(key, compiled)
    }

    /// A URL that requests name.
    pub(super) fn pinned(
        &mut self,
        key: &SourceKey,
        spec: &PinnedUrlSpec,
        paths: &mut PathSet,
    ) -> Result<PinnedUrl, Reported> {
        let place = self.place(&key.below("from"), &spec.from, paths)?;
        let compiled = PinnedUrl::compile(spec, place, &self.params);
        self.ok(key, compiled)
    }

    /// Compiles a value that is demanded. None if the demand is a matter of the source, which gives
    /// no such parameter.
    pub(super) fn expected(
        &mut self,
        key: &SourceKey,
        value: &Expected,
        paths: &mut PathSet,
    ) -> Result<Option<Template>, Reported> {
        match value {
            Expected::Value(text) => self.template(key, text, paths).map(Some),
            Expected::IfParam(name) => {
                let value = self.params.get(&**name);
                Ok(value.map(|value| Template::of_literal(value)))
            }
        }
    }
}
