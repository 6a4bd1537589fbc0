// A backend's logger asks the configuration schemas of all packages one
// question: which values are secret. Compiling them to answer it is the slowest
// step of a start, and most of their keywords do not bear on the answer.

// Keywords of which only some parts may apply.
const ALTERNATIVES = ['anyOf', 'oneOf', 'then', 'else'];

// Keywords whose values are data, not schemas.
const DATA = ['enum', 'const', 'default', 'examples', 'required'];

/**
 * Reduces a schema to what finds the secrets of a configuration.
 *
 * A configuration never has fewer secrets by the result than by the schema. It
 * can have more, where alternatives disagree: all of them count, not just those
 * that match. Nothing is validated by the result; the logger ignores errors.
 */
export function pruneToSecrets(schema) {
  const definitions = schema.definitions ?? {};
  const secretive = secretiveDefinitions(definitions);
  const pruned = prune(schema, secretive) ?? {};
  delete pruned.definitions;

  const kept = Object.entries(definitions)
    .filter(([name]) => secretive.has(name))
    .map(([name, definition]) => [name, prune(definition, secretive)]);
  return kept.length > 0
    ? { ...pruned, definitions: Object.fromEntries(kept) }
    : pruned;
}

/** Names the definitions that mark a secret, be it through others. */
function secretiveDefinitions(definitions) {
  const names = new Set();
  for (let size = -1; size !== names.size; ) {
    size = names.size;
    for (const [name, definition] of Object.entries(definitions)) {
      if (prune(definition, names) !== undefined) {
        names.add(name);
      }
    }
  }
  return names;
}

/** The part of `node` that marks secrets, if any. */
function prune(node, secretive) {
  if (node === null || typeof node !== 'object') {
    return undefined;
  }
  const parts = {};
  if (node.visibility === 'secret') {
    parts.visibility = 'secret';
  }
  if (node.deepVisibility) {
    parts.deepVisibility = node.deepVisibility;
  }
  if (secretive.has(definitionName(node.$ref))) {
    parts.$ref = node.$ref;
  }
  for (const keyword of ['properties', 'patternProperties']) {
    const children = pruneAll(Object.entries(node[keyword] ?? {}), secretive);
    if (children.length > 0) {
      parts[keyword] = Object.fromEntries(children);
    }
  }
  for (const keyword of ['items', 'additionalProperties', 'contains']) {
    const child = Array.isArray(node[keyword])
      ? { anyOf: alternatives(node[keyword], secretive) }
      : prune(node[keyword], secretive);
    if (child !== undefined && child.anyOf?.length !== 0) {
      parts[keyword] = child;
    }
  }
  if (parts.additionalProperties) {
    // They are only those that no other keyword names, so the names stay.
    for (const keyword of ['properties', 'patternProperties']) {
      if (node[keyword]) {
        parts[keyword] = { ...emptied(node[keyword]), ...parts[keyword] };
      }
    }
  }
  const allOf = pruneAll(Object.entries(node.allOf ?? []), secretive);
  if (allOf.length > 0) {
    parts.allOf = allOf.map(([, child]) => child);
  }
  const anyOf = alternatives(
    ALTERNATIVES.flatMap(keyword => node[keyword] ?? []),
    secretive
  );
  if (anyOf.length > 0) {
    parts.anyOf = anyOf;
  }
  if (Object.keys(parts).length === 0) {
    return undefined;
  }
  refuseUnknown(node);
  return typed(node, parts);
}

/** Adds the type that the validator wants to see beside these keywords. */
function typed(node, parts) {
  if ('items' in parts || 'contains' in parts) {
    return { type: node.type ?? 'array', ...parts };
  }
  const ofObjects = ['properties', 'patternProperties', 'additionalProperties'];
  return ofObjects.some(keyword => keyword in parts)
    ? { type: node.type ?? 'object', ...parts }
    : parts;
}

function pruneAll(entries, secretive) {
  return entries
    .map(([key, child]) => [key, prune(child, secretive)])
    .filter(([, child]) => child !== undefined);
}

/**
 * Validation ends at the first alternative that is valid. These never are, so
 * every one is visited and marks its secrets.
 */
function alternatives(nodes, secretive) {
  return nodes
    .map(node => prune(node, secretive))
    .filter(node => node !== undefined)
    .map(node => ({ ...node, not: {} }));
}

function emptied(children) {
  return Object.fromEntries(Object.keys(children).map(key => [key, {}]));
}

/** Fails on a way to nest schemas that this file does not follow. */
function refuseUnknown(node) {
  const known = new Set([
    ...ALTERNATIVES,
    ...DATA,
    'properties',
    'patternProperties',
    'items',
    'additionalProperties',
    'contains',
    'allOf',
    'not',
    'if',
    'definitions',
  ]);
  for (const [keyword, value] of Object.entries(node)) {
    if (!known.has(keyword) && value !== null && typeof value === 'object') {
      if (/"(deepV|v)isibility":"secret"/.test(JSON.stringify(value))) {
        throw new Error(
          `a configuration schema marks a secret below '${keyword}', which src/prune.js does not know`
        );
      }
    }
  }
}

function definitionName(ref) {
  const prefix = '#/definitions/';
  return typeof ref === 'string' && ref.startsWith(prefix)
    ? decodeURIComponent(ref.slice(prefix.length))
    : undefined;
}
