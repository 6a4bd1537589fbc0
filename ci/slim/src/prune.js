// At start a backend asks the configuration schemas of its packages two
// questions: which values are secret (to keep them out of the log), and which
// are for the browser. Compiling the schemas to answer them is the slowest step
// of a start, and most of their keywords do not bear on either answer.

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

/**
 * Reduces the merged schema of all packages to what selects and checks the
 * configuration of an app.
 *
 * It has to be the merged one: whether a key falls under `additionalProperties`
 * depends on the keys that the other packages name.
 *
 * What the browser never sees is no longer checked where the app is served: the
 * plugins that read it do that.
 */
export function pruneToFrontend(schema) {
  const { definitions = {}, ...body } = schema;
  const pruned = pruneInvisible(body, definitions) ?? {};
  const names = reachable(pruned, definitions);
  return names.length > 0
    ? {
        ...pruned,
        definitions: Object.fromEntries(
          names.map(name => [name, definitions[name]])
        ),
      }
    : pruned;
}

/** `node` without its properties and items that hold nothing visible. */
function pruneInvisible(node, definitions) {
  if (!showsAnything(node, definitions)) {
    return undefined;
  }
  // Which parts of these apply depends on all of them.
  const whole = ['$ref', 'allOf', 'not', 'if', 'deepVisibility'];
  if ([...whole, ...ALTERNATIVES].some(keyword => keyword in node)) {
    return node;
  }
  const pruned = { ...node };
  for (const keyword of ['properties', 'patternProperties']) {
    if (node[keyword]) {
      pruned[keyword] = Object.fromEntries(
        Object.entries(node[keyword])
          .map(([key, child]) => [key, pruneInvisible(child, definitions)])
          .filter(([, child]) => child !== undefined)
      );
    }
  }
  if (pruned.additionalProperties === false) {
    // What has gone must not become forbidden.
    delete pruned.additionalProperties;
  } else if (pruned.additionalProperties !== undefined) {
    keepNames(node, pruned);
  }
  return pruned;
}

/** Keeps keys from falling under `additionalProperties` for want of a schema. */
function keepNames(node, pruned) {
  for (const keyword of ['properties', 'patternProperties']) {
    if (node[keyword]) {
      pruned[keyword] = {
        ...Object.fromEntries(Object.keys(node[keyword]).map(key => [key, {}])),
        ...pruned[keyword],
      };
    }
  }
}

function showsAnything(node, definitions) {
  const shows = part =>
    part.visibility === 'frontend' ||
    part.deepVisibility === 'frontend' ||
    typeof part.deprecated === 'string';
  return (
    someNode(node, shows) ||
    reachable(node, definitions).some(name =>
      someNode(definitions[name], shows)
    )
  );
}

function someNode(node, test) {
  return (
    node !== null &&
    typeof node === 'object' &&
    (test(node) || Object.values(node).some(child => someNode(child, test)))
  );
}

/** Names the definitions that `node` refers to, be it through others. */
function reachable(node, definitions) {
  const names = new Set();
  const visit = part => {
    someNode(part, ({ $ref }) => {
      const name = definitionName($ref);
      if (name in definitions && !names.has(name)) {
        names.add(name);
        visit(definitions[name]);
      }
      return false;
    });
  };
  visit(node);
  return [...names].sort();
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
    keepNames(node, parts);
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
