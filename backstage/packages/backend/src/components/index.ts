export { componentsFeature as default } from './feature';
