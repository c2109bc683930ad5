import { type ComponentType, useEffect, useState } from "react";
import { LoadingState } from "./ui/state";

type Module<P> = { default: ComponentType<P> };

/**
 * A component whose code is loaded when it is first drawn, or before by load. React's own
 * lazy holds back what has been loaded for 300 ms after it has shown something else.
 */
export function defer<P extends object>(fetchModule: () => Promise<Module<P>>) {
  let loaded: ComponentType<P> | undefined;
  let loading: Promise<void> | undefined;
  const load = () => {
    loading ??= fetchModule().then(
      (module) => {
        loaded = module.default;
      },
      (error) => {
        loading = undefined; // the next one tries again
        throw error;
      },
    );
    return loading;
  };

  // biome-ignore lint/correctness/noComponentHookFactories: defer is called once for each, where modules begin
  function Deferred(props: P) {
    const [Loaded, setLoaded] = useState(() => loaded);
    useEffect(() => {
      if (Loaded) return;
      let isHere = true;
      load().then(
        () => isHere && setLoaded(() => loaded),
        // Thrown while drawing, where a CatchErrors is told of it.
        (error) =>
          isHere &&
          setLoaded(() => {
            throw error;
          }),
      );
      return () => {
        isHere = false;
      };
    }, [Loaded]);
    return Loaded ? <Loaded {...props} /> : <LoadingState />;
  }
  return Object.assign(Deferred, { load });
}
