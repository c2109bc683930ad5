import { useQueryClient } from "@tanstack/react-query";
import { useLocation } from "wouter";
import { actorQuery, useActor } from "@/api/actor";
import { api, call, messageOf } from "@/api/client";
import { SafeText } from "./safe-text";
import { MenuItem, MenuLabel, MenuLine } from "./ui/menu";
import { useNotify } from "./ui/toast";

/** The items of the menu about keys and the user. */
export function AccountItems() {
  const { actor } = useActor();
  const [, navigate] = useLocation();
  const queries = useQueryClient();
  const notify = useNotify();
  if (!actor) return null;
  const signOut = async () => {
    try {
      await call(api.POST("/api/sign-out"));
      await queries.invalidateQueries({ queryKey: actorQuery.queryKey });
    } catch (error) {
      notify(messageOf(error));
    }
  };
  return (
    <>
      <MenuLine />
      <MenuItem onSelect={() => navigate("/agents")}>Agents</MenuItem>
      {actor.role === "admin" && (
        <>
          <MenuItem onSelect={() => navigate("/keys")}>Keys</MenuItem>
          <MenuItem onSelect={() => navigate("/audit")}>Audit</MenuItem>
        </>
      )}
      {actor.key_id !== "" && (
        <>
          <MenuLine />
          <MenuLabel>
            <SafeText text={actor.name} limit={60} /> ({actor.role})
          </MenuLabel>
          <MenuItem onSelect={() => void signOut()}>Sign out</MenuItem>
        </>
      )}
    </>
  );
}
