# npm ci, of packages in a folder: nothing is downloaded. One package has a script that npm
# runs after the installation, and the project has a test.
export npm_config_offline=true npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
mkdir packages project
cd packages
for name in left right; do
	mkdir -p $name/lib
	printf '{"name":"%s","version":"1.0.0","main":"lib/1.js","license":"MIT"}\n' $name >$name/package.json
	for i in $(seq 1 40); do printf 'exports.add = (a, b) => a + b + %d;\n' "$i" >$name/lib/"$i".js; done
	(cd $name && npm pack --silent --pack-destination ..)
done
mkdir tool && cd tool
printf '{"name":"tool","version":"2.1.0","bin":{"tool":"tool.js"},"scripts":{"postinstall":"node build.js"}}\n' >package.json
printf '#!/usr/bin/env node\nconsole.log(require("fs").readFileSync(__dirname + "/built.txt", "utf8"));\n' >tool.js
printf 'require("fs").writeFileSync("built.txt", process.platform + "\\n");\n' >build.js
npm pack --silent --pack-destination ..
cd "$HOME"/project
printf '{"name":"project","version":"0.1.0","scripts":{"test":"tool && node test.js"},"dependencies":{"left":"file:../packages/left-1.0.0.tgz","right":"file:../packages/right-1.0.0.tgz"},"devDependencies":{"tool":"file:../packages/tool-2.1.0.tgz"}}\n' >package.json
printf 'if (require("left").add(1, 2) !== 4) process.exit(1);\n' >test.js
npm install --package-lock-only
npm ci
npm test
