import { type ComponentType, useEffect, useState } from "react";
import { LoadingState } from "./ui/state";

type Module<P> = { default: ComponentType<P> };

/**
 * A component whose code is loaded at its first rendering, or earlier by load. React.lazy
 * is not used: after it has shown a fallback, it delays loaded content by 300 ms.
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
        loading = undefined; // the next call retries
        throw error;
      },
    );
    return loading;
  };

  // biome-ignore lint/correctness/noComponentHookFactories: defer is called once per component, at the top of a module
  function Deferred(props: P) {
    const [Loaded, setLoaded] = useState(() => loaded);
    useEffect(() => {
      if (Loaded) return;
      let isHere = true;
      load().then(
        () => isHere && setLoaded(() => loaded),
        // Thrown during rendering, so that a CatchErrors catches it.
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
