// Makes the build of an app reproducible: `node --require build-info.cjs`, by
// NODE_OPTIONS, with SOURCE_DATE_EPOCH.
//
// @backstage/cli defines the time of the build for the app's code. Nothing in
// the app reads it, but it is hashed, and which letters that hash has decides
// how the minifier names variables. Here that time is SOURCE_DATE_EPOCH; for
// everything else time goes by as ever.

const { SOURCE_DATE_EPOCH } = process.env;
const now = Date.now;

if (SOURCE_DATE_EPOCH) {
  Date.now = () =>
    new Error().stack.includes('readBuildInfo')
      ? Number(SOURCE_DATE_EPOCH) * 1000
      : now();
}
