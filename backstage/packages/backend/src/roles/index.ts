export { parseRole, type Role } from './parseRole';
export { startRole } from './startRole';
