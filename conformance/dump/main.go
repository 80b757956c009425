// The shapes of Go's types below a pod template and a subset of Endpoints, as their dump tells them: what crates/controllers/src/workload/dump
// reads. `go run ./dump > ../crates/controllers/src/workload/dump/types.txt`
//
// With the word `hashes`: of each line of the standard input, which is a template in JSON, the hash and the line; so its
// tests' templates.txt was made.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/controller"
)

// Types that are not told by their fields in JSON.
var own = map[string]bool{"v1.Time": true, "resource.Quantity": true, "intstr.IntOrString": true}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "hashes" {
		hashes()
		return
	}
	seen := map[string]reflect.Type{}
	queue := []reflect.Type{reflect.TypeOf(v1.PodTemplateSpec{}), reflect.TypeOf(v1.EndpointSubset{})}
	fmt.Println("# Made by conformance/dump of k8s.io/api: a type and what it is; of a struct each field in its order with its")
	fmt.Println("# type and its name in JSON (- where it is embedded).")
	for len(queue) > 0 {
		one := queue[0]
		queue = queue[1:]
		for one.Name() == "" && (one.Kind() == reflect.Pointer || one.Kind() == reflect.Slice) {
			one = one.Elem()
		}
		if one.Kind() == reflect.Map {
			queue = append(queue, one.Key(), one.Elem())
		}
		name := one.String()
		if known, there := seen[name]; there {
			if known != one {
				panic("two types are called " + name)
			}
			continue
		}
		seen[name] = one
		switch {
		case own[name] || one.PkgPath() == "" || one.Name() == "":
		case one.Kind() == reflect.Struct:
			fmt.Println("=" + name)
			for i := 0; i < one.NumField(); i++ {
				field := one.Field(i)
				name, rest, _ := strings.Cut(field.Tag.Get("json"), ",")
				if name == "" && (strings.Contains(rest, "inline") || field.Anonymous) {
					name = "-"
				}
				fmt.Println(field.Name, field.Type, name)
				queue = append(queue, field.Type)
			}
		case one.Kind() == reflect.Map:
			fmt.Printf("=%s map[%s]%s\n", name, one.Key(), one.Elem())
		default:
			fmt.Printf("=%s %s\n", name, one.Kind())
		}
	}
}

func hashes() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		template := v1.PodTemplateSpec{}
		if err := json.Unmarshal(lines.Bytes(), &template); err != nil {
			panic(err)
		}
		collisions := int32(7)
		fmt.Println(controller.ComputeHash(&template, nil), controller.ComputeHash(&template, &collisions), lines.Text())
	}
}
