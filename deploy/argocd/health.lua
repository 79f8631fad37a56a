-- The health of a WebSocketRoute or a WebSocketBalancer for Argo CD: one script for both. kustomization.yaml brings it in.
--
-- Degraded is what waits for an edit: Argo CD gives up a sync over it, so what may mend itself (a Service that the same sync
-- is about to make, pods that start) is Progressing.

-- What the reason of a condition that does not hold means.
local HEALTH = {
  -- Nobody but an author or an administrator can mend these; the operator says Stalled as well.
  Invalid = "Degraded",
  NotAllowed = "Degraded",
  HostConflict = "Degraded",
  PathConflict = "Degraded",
  Quota = "Degraded",
  Unsupported = "Degraded",
  RefNotPermitted = "Degraded",
  UnsupportedService = "Degraded",
  ConfigRejected = "Degraded",
  TemplateInvalid = "Degraded",
  RoutesHeld = "Degraded",

  -- These mend themselves once another object is there, or its pods are ready.
  NoBalancer = "Progressing",
  ServiceNotFound = "Progressing",
  PortNotFound = "Progressing",
  EndpointNotAllowed = "Progressing",
  DeploymentNotFound = "Progressing",
  DeploymentTaken = "Progressing",
  ServicePortMissing = "Progressing",
  SecretNotFound = "Progressing",
  InvalidCertificate = "Progressing",
  TemplateNotFound = "Progressing",
  Pending = "Progressing",
  NoBalancerPods = "Progressing",
  ReloadHeld = "Progressing",
  NoEndpoints = "Progressing",
}

local function health(status, message)
  return {status = status, message = message}
end

local status = obj.status
if status == nil or status.conditions == nil or #status.conditions == 0 then
  return health("Progressing", "The operator has not looked at it yet.")
end
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "The operator has not looked at the last edit yet.")
end

local first = nil
for _, condition in ipairs(status.conditions) do
  if condition.type == "Stalled" then
    if condition.status == "True" then
      return health("Degraded", condition.reason .. ": " .. condition.message)
    end
  elseif condition.type ~= "DrainBacklog" and condition.status ~= "True" then
    -- (DrainBacklog is about sockets that people still hold: nothing is wrong, and nothing to wait for.)
    -- The first that does not hold says why; the later ones follow from it.
    first = first or condition
  end
end
if first == nil then
  return health("Healthy", (status.urls or status.addresses or {})[1] or "")
end

if first.type == "DeploymentReady" and first.reason == "NoBalancerPods" then
  -- Somebody has scaled the balancer to 0.
  return health("Suspended", first.message)
end
return health(HEALTH[first.reason] or "Progressing", first.reason .. ": " .. first.message)
