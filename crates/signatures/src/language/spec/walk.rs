//! Walk over every text of a scheme.

use std::collections::BTreeMap;

use super::{HandshakeSpec, PinnedUrlSpec, RespondSpec, SchemeSpec};
use crate::language::syntax::{
    Expected, FieldRef, HashField, HostPattern, KeyApiValue, ParamText, TemplateText, TokenPlace,
};

/// Text of a scheme.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'s> {
    Template(&'s TemplateText),
    Plain(&'s ParamText),
    Field(&'s FieldRef),
    Host(&'s HostPattern),
    /// A parameter that the source may leave out.
    IfParam(&'s str),
}

impl<'s> Text<'s> {
    /// Returns the names of its parameters.
    pub(crate) fn params(self) -> Vec<&'s str> {
        match self {
            Self::Template(text) => text.params(),
            Self::Plain(text) => text.params().collect(),
            Self::Field(field) => field.params().collect(),
            Self::Host(host) => host.params().collect(),
            Self::IfParam(name) => vec![name],
        }
    }
}

impl SchemeSpec {
    /// Returns every text of the scheme.
    pub(crate) fn texts(&self) -> Vec<Text<'_>> {
        let mut texts = Vec::new();
        self.of_proof(&mut texts);
        self.of_token(&mut texts);
        self.of_event(&mut texts);
        respond(&self.respond, &mut texts);
        for handshake in &self.handshake {
            of_handshake(handshake, &mut texts);
        }
        texts
    }

    /// Returns the names of the headers that the proof is read from, those without parameters.
    pub fn header_names(&self) -> Vec<&str> {
        let signatures = self.signature.iter().map(|signature| &signature.from);
        let times = self.timestamp.iter().map(|timestamp| &timestamp.from);
        let token = self.jwt.as_ref().and_then(|jwt| jwt.from.header_name());
        signatures
            .chain(times)
            .chain(self.require.keys())
            .filter_map(FieldRef::header_name)
            .chain(token)
            .collect()
    }

    fn of_proof<'s>(&'s self, texts: &mut Vec<Text<'s>>) {
        if let Some(by) = &self.hash_by
            && let HashField::Field(field) = &by.from
        {
            texts.push(Text::Field(field));
        }
        for signature in &self.signature {
            texts.push(Text::Field(&signature.from));
            texts.push(Text::Plain(&signature.prefix));
            texts.extend(signature.labels.iter().map(Text::Plain));
        }
        texts.extend(
            self.timestamp
                .iter()
                .map(|timestamp| Text::Field(&timestamp.from)),
        );
        let message = self.message.iter();
        texts.extend(message.map(|message| Text::Template(message.template())));
        demands(&self.require, texts);
        let replay = self.replay.nonces.iter().chain(&self.replay.times);
        texts.extend(replay.map(Text::Field));
        for bind in &self.bind {
            texts.push(Text::Field(&bind.from));
            texts.push(expected(&bind.equals));
        }
        if let Some(url) = &self.cert_url {
            pinned(url, texts);
        }
    }

    fn of_token<'s>(&'s self, texts: &mut Vec<Text<'s>>) {
        let Some(jwt) = &self.jwt else { return };
        if let TokenPlace::Field(field) = &jwt.from {
            texts.push(Text::Field(field));
        }
        let detached = jwt.detached.iter();
        texts.extend(detached.map(|message| Text::Template(message.template())));
        texts.extend(jwt.claims.values().map(expected));
        if let Some(api) = &jwt.key_api {
            texts.extend(api.url.texts().map(Text::Plain));
            texts.extend(api.body.values().filter_map(|value| match value {
                KeyApiValue::Text(text) => Some(Text::Plain(text)),
                KeyApiValue::Kid | KeyApiValue::Secret => None,
            }));
        }
    }

    fn of_event<'s>(&'s self, texts: &mut Vec<Text<'s>>) {
        let event = &self.event;
        texts.extend(event.id.iter().map(Text::Template));
        texts.push(Text::Template(&event.event_type));
        if let Some(batch) = &event.batch {
            texts.extend(batch.id.iter().map(Text::Template));
            texts.push(Text::Template(&batch.event_type));
        }
    }
}

fn of_handshake<'s>(handshake: &'s HandshakeSpec, texts: &mut Vec<Text<'s>>) {
    demands(&handshake.check, texts);
    if let Some(visit) = &handshake.visit {
        pinned(visit, texts);
    }
    texts.extend(handshake.secret_from.iter().map(Text::Field));
    respond(&handshake.respond, texts);
}

fn respond<'s>(respond: &'s RespondSpec, texts: &mut Vec<Text<'s>>) {
    texts.extend(respond.headers.values().map(Text::Template));
    texts.extend(respond.body.iter().map(Text::Template));
    let json = respond.json.iter().flat_map(|json| json.templates());
    texts.extend(json.map(Text::Template));
}

fn demands<'s>(demands: &'s BTreeMap<FieldRef, Expected>, texts: &mut Vec<Text<'s>>) {
    for (field, value) in demands {
        texts.extend([Text::Field(field), expected(value)]);
    }
}

fn pinned<'s>(url: &'s PinnedUrlSpec, texts: &mut Vec<Text<'s>>) {
    texts.push(Text::Field(&url.from));
    texts.extend(url.hosts.iter().map(Text::Host));
}

fn expected(expected: &Expected) -> Text<'_> {
    match expected {
        Expected::IfParam(name) => Text::IfParam(name),
        Expected::Value(text) => Text::Template(text),
    }
}
